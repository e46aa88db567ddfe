//! Network namespaces made ahead, with the interface that the network in force would give a pod: the kernel takes a
//! millisecond for the two, which a pod need not wait for.
//!
//! The interface on the host is named after the pod, so its id is drawn with the slot. A slot is used once, and held by a
//! descriptor alone: it ends with the daemon, however that ends, and nothing is recorded of it. Others are made behind the
//! pod that has taken one. Where there is none, or whatever is wrong with it, the pod's is made when it is needed.

use crate::IFNAME;
use crate::chain::{network_invocation, with_network};
use crate::conf::Loaded;
use crate::metrics::Mode;
use crate::network::Network;
use crate::parameters::Parameters;
use cni::Ready;
use cni::types::{Command, Invocation, NetnsRef};
use model::{Demand, SandboxId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};
use sys::netns::Netns;
use sys::sync::lock;
use sys::{SysError, SysResult};
use tokio::sync::Notify;

/// When others are made: the pod that has taken one is to stand first.
const PAUSE: Duration = Duration::from_millis(15);
/// For so long none is made where that has failed.
const REST: Duration = Duration::from_secs(60);
/// So long the parameters that a namespace has from the host are good without another look at them.
const FRESH: Duration = Duration::from_secs(10);

/// A namespace for a pod to come.
#[derive(Debug)]
pub struct Slot {
    id: SandboxId,
    netns: Arc<Netns>,
    ready: Option<Arc<Ready>>,
    /// The network whose interface it has, or would have.
    network: Option<Arc<Loaded>>,
    since: Instant,
    /// What the host gave it, and where that is looked up again.
    parameters: u64,
    host: Arc<Parameters>,
}

impl Slot {
    /// The id that its pod has to have.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// Whether it can be used as it is.
    pub fn is_fresh(&self) -> bool {
        self.since.elapsed() < FRESH
    }

    /// The namespace, and what is ready in it; `None` where the host would make another one by now. Blocks.
    pub(crate) fn open(self) -> Option<(Netns, Option<Arc<Ready>>)> {
        let is_good = self.is_fresh() || self.parameters == self.host.fingerprint();
        let netns = Arc::try_unwrap(self.netns).ok().filter(|_| is_good)?;
        Some((netns, self.ready))
    }

    /// What the plugin that attaches is asked.
    fn call(&self) -> Option<Invocation> {
        let list = &self.network.as_ref()?.list;
        let conf = with_network(list, list.plugins.first()?);
        let netns = NetnsRef {
            path: self.netns.path().to_path_buf(),
            handle: Some(Arc::clone(&self.netns)),
            ready: None,
        };
        Some(Invocation {
            container_id: self.id.to_string(),
            ifname: IFNAME.to_owned(),
            netns: Some(netns),
            ..network_invocation(Command::Add, conf)
        })
    }
}

/// Those that wait.
#[derive(Default)]
pub(crate) struct Slots {
    /// What namespaces of the host's get.
    parameters: Arc<Parameters>,
    state: Mutex<State>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Slot>,
    is_filling: bool,
    demand: Demand,
    /// None is made until then, as that has failed.
    rests_until: Option<Instant>,
}

impl Slots {
    /// So many may wait from now on, also where none could be made.
    pub(crate) fn keep(&self, most: usize) {
        let mut state = self.state();
        state.demand.limit(most);
        state.rests_until = None;
        self.news.notify_one();
    }

    fn next(&self, network: Option<&Arc<Loaded>>) -> Option<Slot> {
        let mut state = self.state();
        state.demand.want(Instant::now());
        self.news.notify_one();
        std::iter::from_fn(|| state.waiting.pop_front()).find(|slot| is_for(slot, network))
    }

    /// A pod is attached: where it was the first on its bridge, interfaces can be made from now on.
    pub(crate) fn attached(&self) {
        let state = self.state();
        // One that is just being made may have been too early for an interface.
        if state.is_filling || state.waiting.iter().any(|slot| slot.ready.is_none()) {
            self.news.notify_one();
        }
    }

    fn put(&self, slot: Slot) {
        self.state().waiting.push_back(slot);
    }

    /// Lets go of those that are too many, and of those that another network would have; takes out those that lack an
    /// interface.
    fn review(&self, network: Option<&Arc<Loaded>>) -> Vec<Slot> {
        let mut state = self.state();
        let goal = state.demand.goal(Instant::now());
        let all = std::mem::take(&mut state.waiting);
        let (bare, ready): (VecDeque<_>, VecDeque<_>) = all
            .into_iter()
            .filter(|slot| is_for(slot, network))
            .take(goal)
            .partition(|slot| slot.ready.is_none());
        state.waiting = ready;
        bare.into()
    }

    fn lacks_one(&self) -> bool {
        let mut state = self.state();
        let lacks = state.waiting.len() < state.demand.goal(Instant::now());
        if !lacks {
            state.demand.is_met();
        }
        lacks
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn is_for(slot: &Slot, network: Option<&Arc<Loaded>>) -> bool {
    match (&slot.network, network) {
        (Some(then), Some(now)) => Arc::ptr_eq(then, now),
        (then, now) => then.is_none() && now.is_none(),
    }
}

impl Network {
    /// A namespace that was made ahead for a pod of the network in force, if there is one. What is not used is to be given
    /// back.
    pub fn take_slot(&self) -> Option<Slot> {
        self.slots.next(self.loaded().as_ref())
    }

    /// One that was not used.
    pub fn give_back(&self, slot: Slot) {
        self.slots.put(slot);
    }

    /// Makes what is to wait. Blocks.
    fn fill(&self) -> SysResult<()> {
        self.slots.state().is_filling = true;
        let filled = self.fill_up();
        self.slots.state().is_filling = false;
        filled
    }

    fn fill_up(&self) -> SysResult<()> {
        let loaded = self.loaded();
        let bare = self.slots.review(loaded.as_ref());
        for slot in bare {
            self.slots.put(self.furnish(slot));
        }
        while self.slots.lacks_one() {
            let parameters = self.slots.parameters.fingerprint();
            let Some(netns) = self.host.make_ahead()? else { return Ok(()) };
            let id = SandboxId::random();
            let id = id.map_err(|error| std::io::Error::other(error.to_string()));
            let id = id.map_err(SysError::io("draw the id of", "a pod to come"))?;
            let (netns, since) = (Arc::new(netns), Instant::now());
            let (network, host) = (loaded.clone(), Arc::clone(&self.slots.parameters));
            let slot = Slot { id, netns, ready: None, network, since, parameters, host };
            self.slots.put(self.furnish(slot));
        }
        Ok(())
    }

    /// Makes the interface, where the network's first plugin is one that can.
    fn furnish(&self, mut slot: Slot) -> Slot {
        let runs_here = slot.network.as_ref().is_some_and(|loaded| {
            let first = loaded.list.plugins.first();
            first.is_some_and(|plugin| self.caller.mode(plugin, loaded.builtin) == Mode::InProcess)
        });
        if let Some(call) = slot.call().filter(|_| runs_here) {
            slot.ready = self.host.prepare(&call).map(Arc::new);
        }
        slot
    }
}

/// Has so many wait as are wanted, for as long as the network is used.
pub(crate) async fn look_after(network: Weak<Network>) {
    let mut was_told = false;
    loop {
        let Some(held) = network.upgrade() else { return };
        let news = Arc::clone(&held.slots.news);
        let rests_until = held.slots.state().rests_until;
        if rests_until.is_none_or(|until| until <= Instant::now()) {
            let filling = Arc::clone(&held);
            let filled = tokio::task::spawn_blocking(move || filling.fill()).await;
            let failure = filled.map_err(|error| error.to_string());
            let failure = failure.and_then(|made| made.map_err(|error| error.to_string())).err();
            held.slots.state().rests_until = failure.as_ref().map(|_| Instant::now() + REST);
            match failure {
                Some(error) if !std::mem::replace(&mut was_told, true) => tracing::warn!(
                    error,
                    "no network namespace can be made ahead: pods wait until theirs is made"
                ),
                Some(_) => {}
                None => was_told = false,
            }
        }
        let calm_at = held.slots.state().demand.calm_at();
        drop(held);
        tokio::select! {
            () = news.notified() => tokio::time::sleep(PAUSE).await,
            () = until(calm_at) => {}
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_old_one_is_used_only_where_a_new_one_would_be_the_same() {
        if !need::root("needs root") {
            return;
        }
        let now = Instant::now();
        let old = now.checked_sub(FRESH).unwrap();
        let host = Arc::new(Parameters::default());
        for (since, parameters, is_good) in [(now, 0, true), (old, 0, false), (old, host.fingerprint(), true)]
        {
            let host = Arc::clone(&host);
            let netns = Arc::new(sys::netns::make().unwrap());
            let id = SandboxId::random().unwrap();
            let slot = Slot { id, netns, ready: None, network: None, since, parameters, host };
            assert_eq!(slot.open().is_some(), is_good);
        }
    }
}
