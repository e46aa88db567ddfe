//! Keys and values of a `hosts.toml`, with where they stand.

use std::fmt;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// A key with the tables that it is in.
#[derive(Clone, Default)]
pub(super) struct Key<'a>(Vec<&'a str>);

impl<'a> Key<'a> {
    pub(super) fn child(&self, name: &'a str) -> Self {
        Self(self.0.iter().copied().chain([name]).collect())
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            match part.contains(['.', ':', '/']) {
                true => write!(f, "{dot}{part:?}")?,
                false => write!(f, "{dot}{part}")?,
            }
        }
        Ok(())
    }
}

/// A value with its key.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) key: Key<'a>,
    /// Where the key stands, or the value itself in a list.
    pub(super) at: usize,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Entry<'a> {
    pub(super) fn find(table: &'a DeTable<'a>, name: &'a str, at: &Key<'a>) -> Option<Self> {
        let (key, value) = table.get_key_value(name)?;
        Some(Self { key: at.child(name), at: key.span().start, value: value.get_ref() })
    }

    /// One of a list.
    pub(super) fn item(&self, item: &'a Spanned<DeValue<'a>>) -> Self {
        Self { key: self.key.clone(), at: item.span().start, value: item.get_ref() }
    }
}

/// The candidate that looks most like the word, with one slip in three letters.
pub(super) fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let bare = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&bare(word), &bare(candidate));
    let best = candidates.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(best) <= word.chars().count().max(3) / 3).then_some(best)
}

/// A duration in Go's notation: `30s`, `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (total > Duration::ZERO && total < Duration::from_secs(86_400)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("3s", Some(3_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5s", Some(1_500)),
            ("", None),
            ("3", None),
            ("s", None),
            ("-3s", None),
            ("0s", None),
            ("1e9s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text).map(|time| time.as_millis()), expected, "{text}");
        }
    }
}
