//! Signals, by number and by name.

use crate::value::{ValueError, ValueResult};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// `SIGRTMIN` as the C libraries number it for programs; the first two real-time signals are their own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Linux's numbers on all architectures but MIPS, SPARC, Alpha and PA-RISC.
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A signal that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

impl Signal {
    /// What ends a program that has not been told of another.
    pub const TERM: Self = Self(15);
    /// What nobody survives.
    pub const KILL: Self = Self(9);

    /// Takes a number.
    ///
    /// # Errors
    /// [`ValueError::OutOfRange`].
    pub fn new(number: i32) -> ValueResult<Self> {
        if (1..=RTMAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(ValueError::OutOfRange { value: number.into(), least: 1, most: RTMAX.into() })
        }
    }

    /// Its number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for Signal {
    type Error = ValueError;

    fn try_from(number: i32) -> ValueResult<Self> {
        Self::new(number)
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}

/// As image configurations spell it: a name with or without `SIG`, a number, or `RTMIN+n` and `RTMAX-n`.
impl FromStr for Signal {
    type Err = ValueError;

    fn from_str(text: &str) -> ValueResult<Self> {
        let number = if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
            text.parse().ok()
        } else {
            named(text)
        };
        number
            .and_then(|number| Self::new(number).ok())
            .ok_or_else(|| ValueError::Form { text: text.to_owned(), form: "signal" })
    }
}

fn named(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |rest: &str, sign: char| -> Option<i32> {
        if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from) }
    };
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => RTMIN + offset(rest, '+')?,
        None => RTMAX - offset(name.strip_prefix("RTMAX")?, '-')?,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGQUIT", 3)]
        {
            assert_eq!(text.parse::<Signal>().unwrap().get(), number, "{text}");
        }
        for text in ["", "0", "65", "-9", "SIGFOO", "RTMIN+31", "RTMIN-1", "+9"] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is no signal"));
        }
    }

    #[test]
    fn a_record_has_its_number() {
        assert_eq!(serde_json::to_string(&Signal::KILL).unwrap(), "9");
        assert_eq!(serde_json::from_str::<Signal>("15").unwrap(), Signal::TERM);
        assert!(serde_json::from_str::<Signal>("65").is_err());
    }
}
