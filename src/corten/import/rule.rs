//! What a key of another runtime means here: a table of patterns, first match.

use super::read::Leaf;
use std::net::SocketAddr;
use toml::Value;

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// A setting of Corten's, its value in TOML, and a word about it.
    Mapped(String, String, &'static str),
    /// There is nothing like it here, and that costs something.
    Lost(String),
    /// It says nothing here.
    Void(String),
}

/// How a value becomes one of Corten's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// As it is.
    Same(&'static str),
    /// A duration as Go writes it, or a number, in seconds.
    Seconds(&'static str),
    /// The same in milliseconds.
    Millis(&'static str),
    /// It does nothing here, and why that is all the same.
    Void(&'static str),
    /// There is no such thing here, and what that costs, unless it is off.
    Lost(&'static str),
    /// As that, unless it is off or this.
    LostUnless(&'static str, &'static str),
    /// Its own rule.
    By(fn(&Leaf) -> Fate),
}

impl Rule {
    /// Applies it.
    pub(super) fn fate(self, leaf: &Leaf) -> Fate {
        const OFF: &str = "off";
        match self {
            Self::Same(_) | Self::Seconds(_) | Self::Millis(_) if leaf.text() == Some("") => {
                Fate::Void("empty, the default applies".to_owned())
            }
            Self::Same(key) => mapped(key, leaf.value.to_string()),
            Self::Seconds(key) => match millis(&leaf.value) {
                Some(0) => Fate::Void(OFF.to_owned()),
                Some(millis) => mapped(key, millis.div_ceil(1000).to_string()),
                None => Fate::Lost("no duration that is known here".to_owned()),
            },
            Self::Millis(key) => match millis(&leaf.value) {
                Some(0) => Fate::Void(OFF.to_owned()),
                Some(millis) => mapped(key, millis.to_string()),
                None => Fate::Lost("no duration that is known here".to_owned()),
            },
            Self::Void(why) => Fate::Void(why.to_owned()),
            Self::Lost(_) | Self::LostUnless(..) if leaf.is_off() => Fate::Void(OFF.to_owned()),
            Self::LostUnless(usual, _) if shown(&leaf.value) == usual => Fate::Void("as usual".to_owned()),
            Self::Lost(cost) | Self::LostUnless(_, cost) => Fate::Lost(cost.to_owned()),
            Self::By(rule) => rule(leaf),
        }
    }
}

/// A setting.
pub(super) fn mapped(key: &str, value: String) -> Fate {
    Fate::Mapped(key.to_owned(), value, "")
}

/// Where streams are served.
pub(super) fn listening(address: SocketAddr, has_tls: bool) -> Fate {
    let is_open = !address.ip().is_loopback() && !has_tls;
    let note =
        if is_open { "what goes through it is read by whoever is on the way: it has no TLS" } else { "" };
    Fate::Mapped("stream.address".to_owned(), quoted(&address.to_string()), note)
}

/// What has no counterpart, and what that costs.
pub(super) fn lost(why: &str) -> Fate {
    Fate::Lost(why.to_owned())
}

/// What says nothing here.
pub(super) fn void(why: &str) -> Fate {
    Fate::Void(why.to_owned())
}

/// The one directory of plugins that an older key names.
pub(super) fn only_directory(leaf: &Leaf, otherwise: &str) -> Fate {
    match leaf.text() {
        Some(path) if !path.is_empty() => {
            mapped("network.bin_dirs", Value::Array(vec![path.into()]).to_string())
        }
        _ => void(otherwise),
    }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// A value for people.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The rule of the first pattern that fits: `*` stands for one part of the path, or its end, `**` at the end for all that follow.
pub(super) fn find(rules: &[(&str, Rule)], path: &[&str]) -> Option<Rule> {
    let fits = |pattern: &str| {
        let mut parts = path.iter();
        for wanted in pattern.split('/') {
            match (wanted, parts.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(part)) if wanted == *part => {}
                (wanted, Some(part))
                    if wanted.strip_suffix('*').is_some_and(|begin| part.starts_with(begin)) => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    };
    rules.iter().find(|(pattern, _)| fits(pattern)).map(|(_, rule)| *rule)
}

/// Milliseconds of `1h2m3.5s`, or of a number of seconds.
fn millis(value: &Value) -> Option<u64> {
    let mut rest = match value {
        Value::Integer(seconds) => return u64::try_from(*seconds).ok().map(|seconds| seconds * 1000),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    if let Ok(seconds) = rest.parse::<u64>() {
        return Some(seconds * 1000);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        sum += number
            * match &rest[..unit] {
                "h" => 3_600_000.0,
                "m" => 60_000.0,
                "s" => 1000.0,
                "ms" => 1.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    // Durations of settings are far below what a float holds exactly.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (sum.is_finite() && sum < 1e15).then_some(sum as u64)
}
