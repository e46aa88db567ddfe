//! The small parts of requests: ids, time limits, ranges of addresses.

use super::{DecodeError, Field, text};
use engine::Streams;
use ipnet::IpNet;
use model::{Argv, ValueError};
use std::time::Duration;

/// Ten years: long enough to be for ever, and no clock overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An id that must be there; whether it exists is for the engine to say.
pub(crate) fn id(name: &str, id: &str) -> Result<(), DecodeError> {
    let field = Field::root(name);
    text::id(&field, id)?;
    text::printable(&field, id)
}

/// Seconds.
pub(crate) fn seconds(name: &str, value: i64) -> Result<Duration, DecodeError> {
    match u64::try_from(value) {
        Ok(seconds) => Ok(Duration::from_secs(seconds).min(LONGEST)),
        Err(_) => Err(Field::root(name).invalid(format!("{value} is negative"))),
    }
}

/// A command that must not be empty.
pub(crate) fn command(name: &str, words: Vec<String>) -> Result<Argv, DecodeError> {
    let field = Field::root(name);
    Argv::new(words).map_err(|error| match error {
        ValueError::Empty => field.missing(),
        ValueError::NulInWord { index } => field.item(index).value()(ValueError::Nul),
        error => field.value()(error),
    })
}

/// The streams of an exec or attach: one at least, and no stderr beside a terminal, which has but one output.
pub(crate) fn streams(tty: bool, asked: Streams) -> Result<Streams, DecodeError> {
    if tty && asked.stderr {
        return Err(Field::root("stderr").invalid("cannot be had beside tty: a terminal has one output"));
    }
    if asked == Streams::default() {
        return Err(Field::root("stdin").invalid("one of stdin, stdout and stderr is required"));
    }
    Ok(asked)
}

/// Ports to forward: fewer than half of the channels that a WebSocket has.
pub(crate) fn ports(name: &str, list: &[i32]) -> Result<Vec<u16>, DecodeError> {
    const MOST: usize = 100;
    let field = Field::root(name);
    if list.len() > MOST {
        return Err(field.invalid(format!("names {} ports, more than {MOST}", list.len())));
    }
    let port = |(index, port): (usize, &i32)| {
        let valid = u16::try_from(*port).ok().filter(|port| *port != 0);
        valid.ok_or_else(|| field.item(index).invalid(format!("{port} is no port")))
    };
    list.iter().enumerate().map(port).collect()
}

/// The pod CIDRs: none, one, or one of each family.
pub(crate) fn pod_cidrs(list: &str) -> Result<Vec<IpNet>, DecodeError> {
    let root = Field::root("runtime_config");
    let network = root.child("network_config");
    let field = network.child("pod_cidr");
    let mut ranges: Vec<IpNet> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let range: IpNet = part.parse().map_err(|_| field.invalid(format!("{part:?} is no CIDR")))?;
        if ranges.iter().any(|known| known.addr().is_ipv4() == range.addr().is_ipv4()) {
            return Err(field.invalid("has two ranges of one family"));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn time_limits() {
        assert_eq!(seconds("timeout", 0), Ok(Duration::ZERO));
        assert_eq!(seconds("timeout", 30), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("timeout", i64::MAX), Ok(LONGEST));
        assert!(seconds("timeout", -1).is_err());
    }

    #[test]
    fn one_range_a_family() {
        let parse =
            |text: &str| pod_cidrs(text).map(|ranges| ranges.len()).map_err(|error| error.to_string());
        assert_eq!(parse(""), Ok(0));
        assert_eq!(parse("10.88.0.0/16"), Ok(1));
        assert_eq!(parse("10.88.0.0/16,fd00::/64"), Ok(2));
        assert!(parse("10.88.0.0/16,10.89.0.0/16").is_err());
        let error = parse("10.88.0.0").unwrap_err();
        assert!(error.starts_with("runtime_config.network_config.pod_cidr: "), "{error}");
    }

    #[test]
    fn a_terminal_has_no_stderr() {
        let asked = Streams { stdin: true, stdout: true, stderr: false };
        assert_eq!(streams(true, asked), Ok(asked));
        assert!(streams(false, Streams { stderr: true, ..Streams::default() }).is_ok());
        let error = streams(true, Streams { stderr: true, ..asked }).unwrap_err().to_string();
        assert!(error.starts_with("stderr: "), "{error}");
        assert!(streams(false, Streams::default()).is_err());
    }

    #[test]
    fn ports_are_ports() {
        assert_eq!(ports("port", &[80, 65535]), Ok(vec![80, 65535]));
        assert_eq!(ports("port", &[]), Ok(vec![]));
        assert_eq!(ports("port", &[80, 0]).unwrap_err().to_string(), "port[1]: 0 is no port");
        assert!(ports("port", &[65536]).is_err() && ports("port", &[-1]).is_err());
        assert!(ports("port", &[80; 101]).is_err());
    }

    #[test]
    fn a_command_has_a_word() {
        let command = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            command("cmd", words).map_err(|error| error.to_string())
        };
        assert!(command(&["ls"]).is_ok());
        for words in [&[][..], &[""]] {
            assert_eq!(command(words), Err("cmd is required".to_owned()));
        }
        assert_eq!(command(&["a", "b\0"]), Err("cmd[1]: contains a NUL byte".to_owned()));
    }
}
