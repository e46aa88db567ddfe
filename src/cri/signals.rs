//! Signals: the CRI numbers them in an order of its own.

use crate::proto::Signal;

/// The first real-time signal that the C library leaves to programs, and the last.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Linux's number (of all architectures but MIPS, SPARC, Alpha and PA-RISC); `None` when none was chosen.
pub(crate) fn number(signal: Signal) -> Option<model::Signal> {
    let number = match signal {
        Signal::RuntimeDefault => return None,
        Signal::Sighup => 1,
        Signal::Sigint => 2,
        Signal::Sigquit => 3,
        Signal::Sigill => 4,
        Signal::Sigtrap => 5,
        Signal::Sigabrt | Signal::Sigiot => 6,
        Signal::Sigbus => 7,
        Signal::Sigfpe => 8,
        Signal::Sigkill => 9,
        Signal::Sigusr1 => 10,
        Signal::Sigsegv => 11,
        Signal::Sigusr2 => 12,
        Signal::Sigpipe => 13,
        Signal::Sigalrm => 14,
        Signal::Sigterm => 15,
        Signal::Sigstkflt => 16,
        Signal::Sigchld | Signal::Sigcld => 17,
        Signal::Sigcont => 18,
        Signal::Sigstop => 19,
        Signal::Sigtstp => 20,
        Signal::Sigttin => 21,
        Signal::Sigttou => 22,
        Signal::Sigurg => 23,
        Signal::Sigxcpu => 24,
        Signal::Sigxfsz => 25,
        Signal::Sigvtalrm => 26,
        Signal::Sigprof => 27,
        Signal::Sigwinch => 28,
        Signal::Sigio | Signal::Sigpoll => 29,
        Signal::Sigpwr => 30,
        Signal::Sigsys => 31,
        // What is left is the real-time range, which both sides number without gaps.
        real_time => real_time as i32 - Signal::Sigrtmin as i32 + RTMIN,
    };
    model::Signal::new(number).ok()
}

/// The CRI's value for Linux's number; of two names of one signal the common one.
pub(crate) fn from_number(signal: model::Signal) -> Signal {
    const NAMED: [Signal; 31] = [
        Signal::Sighup,
        Signal::Sigint,
        Signal::Sigquit,
        Signal::Sigill,
        Signal::Sigtrap,
        Signal::Sigabrt,
        Signal::Sigbus,
        Signal::Sigfpe,
        Signal::Sigkill,
        Signal::Sigusr1,
        Signal::Sigsegv,
        Signal::Sigusr2,
        Signal::Sigpipe,
        Signal::Sigalrm,
        Signal::Sigterm,
        Signal::Sigstkflt,
        Signal::Sigchld,
        Signal::Sigcont,
        Signal::Sigstop,
        Signal::Sigtstp,
        Signal::Sigttin,
        Signal::Sigttou,
        Signal::Sigurg,
        Signal::Sigxcpu,
        Signal::Sigxfsz,
        Signal::Sigvtalrm,
        Signal::Sigprof,
        Signal::Sigwinch,
        Signal::Sigio,
        Signal::Sigpwr,
        Signal::Sigsys,
    ];
    let number = signal.get();
    if (RTMIN..=RTMAX).contains(&number) {
        return Signal::try_from(number - RTMIN + Signal::Sigrtmin as i32).unwrap_or(Signal::RuntimeDefault);
    }
    let named = usize::try_from(number - 1).ok().and_then(|index| NAMED.get(index));
    named.copied().unwrap_or(Signal::RuntimeDefault)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_linux_and_back() {
        for value in (1..=31).chain(RTMIN..=RTMAX) {
            let signal = model::Signal::new(value).unwrap();
            assert_eq!(number(from_number(signal)), Some(signal), "{value}");
        }
        for value in [32, 33] {
            assert_eq!(from_number(model::Signal::new(value).unwrap()), Signal::RuntimeDefault, "{value}");
        }
    }

    #[test]
    fn the_real_time_range_has_its_ends_in_place() {
        let number = |signal| number(signal).map(model::Signal::get);
        assert_eq!(number(Signal::Sigrtmin), Some(34));
        assert_eq!(number(Signal::Sigrtminplus15), Some(49));
        assert_eq!(number(Signal::Sigrtmaxminus14), Some(50));
        assert_eq!(number(Signal::Sigrtmax), Some(64));
    }
}
