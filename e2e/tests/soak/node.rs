//! The node, as all who play on it share it: how it is asked, what was told of it, and whether something is broken.

use crate::weather::{Part, Weather};
use e2e::client::Cri;
use e2e::error::{Chain, Error};
use e2e::invariants::Told;
use e2e::stall::Stall;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

/// How long one thing is asked of one daemon, and one answer waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const AN_ANSWER: Duration = Duration::from_secs(60);
pub(crate) const AGAIN: Duration = Duration::from_millis(15);

/// What is shared.
pub(crate) struct Node {
    pub(crate) socket: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) cgroup_parent: String,
    pub(crate) seed: u64,
    pub(crate) weather: Weather,
    pub(crate) stall: Stall,
    pub(crate) over: AtomicBool,
    /// Everybody has it while asking something, and who wants the node at rest takes it alone.
    pub(crate) turn: RwLock<()>,
    lives: AtomicU64,
    told: Mutex<Told>,
    counts: Mutex<BTreeMap<String, u64>>,
    story: Mutex<String>,
    begin: Instant,
}

/// What a test holds here is whole, whoever has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new(world: &e2e::world::World, seed: u64) -> Self {
        let place = world.daemon.place();
        Self {
            socket: place.socket.clone(),
            state: place.state.clone(),
            data: place.data.clone(),
            logs: world.logs.clone(),
            cgroup_parent: world.isolation.cgroup_parent(),
            seed,
            weather: Weather::default(),
            stall: Stall::watch(),
            over: AtomicBool::new(false),
            turn: RwLock::default(),
            lives: AtomicU64::new(0),
            told: Mutex::default(),
            counts: Mutex::default(),
            story: Mutex::default(),
            begin: Instant::now(),
        }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// A pod has lived.
    pub(crate) fn has_lived(&self) {
        self.lives.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have.
    pub(crate) fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// One more of something.
    pub(crate) fn count(&self, what: &str) {
        *lock(&self.counts).entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).clone()
    }

    /// Writes down what was decided, and when it was carried out.
    pub(crate) fn note(&self, what: &str) {
        let line = format!("{:9.3} {what}\n", self.begin.elapsed().as_secs_f64());
        lock(&self.story).push_str(&line);
    }

    pub(crate) fn story(&self) -> String {
        lock(&self.story).clone()
    }

    /// An invariant that was looked at and held, or its breach.
    pub(crate) fn holds(&self, number: &str, outcome: Result<(), Error>) -> Result<(), Error> {
        self.count(&format!("checks of {number}"));
        outcome
    }

    /// Asks once. A failure that nothing explains is a breach.
    pub(crate) async fn once<T, F: Future<Output = Result<T, Error>>>(
        &self,
        method: &str,
        parts: &[Part],
        call: impl FnOnce(Cri) -> F,
    ) -> Result<Result<T, Error>, Error> {
        let begin = Instant::now();
        let asked = async { call(Cri::connect(&self.socket).await?).await };
        let outcome = tokio::time::timeout(AN_ANSWER, asked).await.unwrap_or_else(|_| {
            let last = method.to_owned();
            Err(Error::Late { what: "an answer", after: AN_ANSWER, last })
        });
        match outcome {
            Ok(answer) => {
                self.count(method);
                Ok(Ok(answer))
            }
            Err(error) if self.weather.explains(parts, begin) && !matches!(error, Error::Late { .. }) => {
                self.count("requests that faults have failed");
                self.note(&format!("{method} fails: {}", Chain(&error)));
                Ok(Err(error))
            }
            Err(error) => {
                let seen = format!("{method}: {}", Chain(&error));
                Err(Error::Unexpected { what: "a failure that no fault explains", seen })
            }
        }
    }

    /// Whether something that began then takes too long. Where daemons are killed before anything can be done, nothing does.
    pub(crate) fn is_late(&self, begin: Instant) -> bool {
        begin.elapsed().min(self.weather.daemon_is_there_for()) > PATIENCE
    }

    /// Asks the same until it is done (I3).
    pub(crate) async fn ask<T, F: Future<Output = Result<T, Error>>>(
        &self,
        method: &str,
        parts: &[Part],
        call: impl Fn(Cri) -> F,
    ) -> Result<T, Error> {
        let begin = Instant::now();
        loop {
            match self.once(method, parts, &call).await? {
                Ok(answer) => return Ok(answer),
                Err(error) if self.is_late(begin) => {
                    let seen = format!("{method}: {}", Chain(&error));
                    return Err(Error::Unexpected {
                        what: "a request that is asked again and again (I3)",
                        seen,
                    });
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Looks until something is so, which must be within this long of a daemon that is there.
    pub(crate) async fn until<F: Future<Output = Result<Option<String>, Error>>>(
        &self,
        what: &'static str,
        after: Duration,
        differs: impl Fn() -> F,
    ) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            let Some(last) = differs().await? else { return Ok(()) };
            let late =
                begin.elapsed().min(self.weather.daemon_is_there_for()) > after + 3 * self.stall.worst();
            if late {
                return Err(Error::Late { what, after, last });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
