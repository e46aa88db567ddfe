//! What is wrong with the node at a time: a request that fails must have a reason here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Daemon,
    Network,
    Disk,
    Registry,
    Plugin,
}

/// How long behind its end something may still be felt: a configuration that is read when a pod starts is well at once,
/// what was begun before is not.
const ECHO: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_wrong: bool,
    until: Option<Instant>,
}

/// All parts.
#[derive(Debug, Default)]
pub(crate) struct Weather(Mutex<[State; 5]>);

impl Weather {
    fn states(&self) -> MutexGuard<'_, [State; 5]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is wrong.
    pub(crate) fn breaks(&self, part: Part) {
        self.states()[part as usize] = State { is_wrong: true, until: None };
    }

    /// It is well again.
    pub(crate) fn mends(&self, part: Part) {
        let mut states = self.states();
        states[part as usize].is_wrong = false;
        states[part as usize].until = Some(Instant::now());
    }

    /// Whether one of these, or the daemon, was wrong at some time since then.
    pub(crate) fn explains(&self, parts: &[Part], since: Instant) -> bool {
        let states = self.states();
        let was = |part: Part, echo| {
            let state = states[part as usize];
            state.is_wrong || state.until.is_some_and(|until| until + echo > since)
        };
        was(Part::Daemon, Duration::ZERO) || parts.iter().any(|part| was(*part, ECHO))
    }

    /// Whether anything is wrong, or was since then.
    pub(crate) fn is_bad(&self, since: Instant) -> bool {
        self.explains(&[Part::Network, Part::Disk, Part::Registry, Part::Plugin], since)
    }

    /// How long the daemon has been there, nothing while it is not.
    pub(crate) fn daemon_is_there_for(&self) -> Duration {
        let daemon = self.states()[Part::Daemon as usize];
        match daemon.until {
            _ if daemon.is_wrong => Duration::ZERO,
            Some(until) => until.elapsed(),
            None => Duration::MAX,
        }
    }
}

#[test]
fn what_was_wrong_meanwhile_explains_a_failure_and_nothing_else_does() {
    let weather = Weather::default();
    let begin = Instant::now();
    assert!(!weather.explains(&[Part::Network], begin) && !weather.is_bad(begin));
    weather.breaks(Part::Network);
    assert!(weather.explains(&[Part::Network], begin) && !weather.explains(&[Part::Disk], begin));
    weather.mends(Part::Network);
    assert!(weather.explains(&[Part::Network], begin));
    assert!(!weather.explains(&[Part::Network], Instant::now() + ECHO));
    assert_eq!(weather.daemon_is_there_for(), Duration::MAX);
    weather.breaks(Part::Daemon);
    assert!(weather.explains(&[], begin));
    assert_eq!(weather.daemon_is_there_for(), Duration::ZERO);
}
