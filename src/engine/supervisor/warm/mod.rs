//! Supervisors that are started ahead. To start a program takes half a millisecond, on a busy node much more, for which a
//! pod need not wait: some have started when it comes, wait for a name ([`wire::naming`]), and serve it as any other does.
//!
//! Each is used once. It ends with the daemon, however that ends, by the socket between the two: nothing is recorded of it.
//! Others are started behind the pod that has taken one. Where none waits, or whatever goes wrong with one that does, the
//! pod's supervisor is started when it is needed.

mod meter;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use meter::Meter;
pub(super) use waiting::end_now;

use crate::blocking;
use crate::error::{EngineError, chain};
use model::Demand;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::shim_spawn::ShimProcess;
use sys::sync::lock;
use tokio::sync::Notify;
use waiting::{Nameless, Waiting};
use wire::naming::NAMELESS;

/// When others are started: the pod that has taken one is to stand first.
const PAUSE: Duration = Duration::from_millis(15);
/// For so long none is started where that has failed.
const REST: Duration = Duration::from_secs(60);
/// The same where one has ended by itself.
const SHORT_REST: Duration = Duration::from_secs(1);

/// Starts one, and hears that it waits. Blocks.
type Start = dyn Fn() -> Result<Nameless, EngineError> + Send + Sync;

/// Those that wait.
pub(crate) struct Warm {
    start: Arc<Start>,
    state: Mutex<State>,
    /// That there is something to look after.
    news: Notify,
    meter: Meter,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    demand: Demand,
    /// None is started until then, as that has failed.
    rests_until: Option<Instant>,
    is_looked_after: bool,
}

impl Warm {
    /// `bare` is what they are given to make mount namespaces of.
    pub(super) fn new(binary: PathBuf, bare: Arc<Option<OwnedFd>>, meter: Meter) -> Self {
        let start = move || Nameless::start(&binary, bare.as_ref().as_ref().map(AsFd::as_fd));
        Self::by(Arc::new(start), meter)
    }

    fn by(start: Arc<Start>, meter: Meter) -> Self {
        Self { start, state: Mutex::default(), news: Notify::new(), meter }
    }

    /// So many may wait from now on, also where none could be started; the first time, those that are started for it are
    /// looked after for as long as the runtime lives, within which this is called.
    pub(super) fn keep(self: &Arc<Self>, most: usize) {
        let mut state = lock(&self.state);
        state.demand.limit(most);
        state.rests_until = None;
        if !std::mem::replace(&mut state.is_looked_after, true) {
            tokio::spawn(self.clone().look_after());
        }
        self.news.notify_one();
    }

    /// Has one serve a pod, on a socket and with a log; `None` where none waits. Blocks for a moment.
    pub(super) fn hand(&self, pod: &str, passed: [BorrowedFd<'_>; 2]) -> Option<ShimProcess> {
        lock(&self.state).demand.want(Instant::now());
        let mut handed = None;
        // An id has as many letters as what it is written over; what has not is no pod of the CRI's.
        while let Some(waiting) = (pod.len() == NAMELESS.len()).then(|| self.next()).flatten() {
            match waiting.name(pod, passed) {
                Ok(process) => {
                    handed = Some(process);
                    break;
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "a supervisor that waited cannot be used");
                }
            }
        }
        self.news.notify_one();
        handed
    }

    /// One that was handed to a pod serves it.
    pub(super) fn started_warm(&self) {
        self.meter.started_warm();
    }

    /// A pod's supervisor has been started when it was needed.
    pub(super) fn started_cold(&self) {
        self.meter.started_cold();
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = lock(&self.state);
        let next = state.waiting.pop_front();
        self.meter.waiting(state.waiting.len());
        next
    }

    async fn look_after(self: Arc<Self>) {
        let mut was_told = false;
        loop {
            if self.give_up().await {
                tokio::time::sleep(SHORT_REST).await;
            }
            let rests_until = lock(&self.state).rests_until;
            if rests_until.is_none_or(|until| until <= Instant::now()) {
                let rests_until = match self.clone().fill().await {
                    Ok(()) => {
                        was_told = false;
                        None
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut was_told, true) {
                            tracing::warn!(
                                error = chain(&error),
                                "no supervisor can be started ahead: pods wait until theirs has started"
                            );
                        }
                        Some(Instant::now() + REST)
                    }
                };
                lock(&self.state).rests_until = rests_until;
            }
            let calm_at = lock(&self.state).demand.calm_at();
            tokio::select! {
                () = self.news.notified() => tokio::time::sleep(PAUSE).await,
                () = until(calm_at) => {}
            }
        }
    }

    /// Lets go of those that have ended by themselves, and of those that are too many; whether there were some of the
    /// former.
    async fn give_up(&self) -> bool {
        let (mut going, has_lost) = {
            let mut state = lock(&self.state);
            let all = std::mem::take(&mut state.waiting);
            let (gone, waiting) = all.into_iter().partition::<VecDeque<_>, _>(Waiting::has_ended);
            state.waiting = waiting;
            let has_lost = !gone.is_empty();
            (gone, has_lost)
        };
        going.extend(self.too_many());
        if !going.is_empty() {
            let end = move || {
                going.into_iter().for_each(Waiting::end);
                Ok(())
            };
            // It fails where the runtime ends, and they with it.
            let _ = blocking("ending supervisors that wait", end).await;
        }
        has_lost
    }

    fn too_many(&self) -> VecDeque<Waiting> {
        let mut state = lock(&self.state);
        let kept = state.demand.goal(Instant::now()).min(state.waiting.len());
        let too_many = state.waiting.split_off(kept);
        self.meter.waiting(state.waiting.len());
        too_many
    }

    /// Starts one after the other until as many wait as are to.
    async fn fill(self: Arc<Self>) -> Result<(), EngineError> {
        while self.lacks_one() {
            let start = self.start.clone();
            let nameless = blocking("starting a supervisor ahead", move || start()).await?;
            let held = Arc::downgrade(&self);
            let tell = move || held.upgrade().map_or((), |warm| warm.news.notify_one());
            let waiting = nameless.watched(tell);
            let mut state = lock(&self.state);
            state.waiting.push_back(waiting);
            self.meter.waiting(state.waiting.len());
        }
        Ok(())
    }

    fn lacks_one(&self) -> bool {
        let mut state = lock(&self.state);
        let lacks = state.waiting.len() < state.demand.goal(Instant::now());
        if !lacks {
            state.demand.is_met();
        }
        lacks
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
