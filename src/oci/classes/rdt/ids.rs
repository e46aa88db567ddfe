//! What is said of caches by their ids: `all`, or lists such as `0-3,5`.

use std::collections::BTreeMap;

/// Those that are not named.
pub(super) const ALL: &str = "all";

/// No cache of a file has a higher id.
const HIGHEST: u64 = 127;

/// Something for each cache.
#[derive(Debug, Clone)]
pub(super) struct ById<T> {
    all: T,
    named: BTreeMap<u64, T>,
}

impl<T: Clone> ById<T> {
    /// Reads the values of a file; where it does not say it, `all` is what those caches have that are not named.
    pub(super) fn read<U>(
        asked: BTreeMap<String, U>,
        all: T,
        read: impl Fn(U) -> Result<T, String>,
    ) -> Result<Self, String> {
        let mut found = Self { all, named: BTreeMap::new() };
        for (key, value) in asked {
            let value = read(value).map_err(|reason| format!("{key}: {reason}"))?;
            if key == ALL {
                found.all = value;
                continue;
            }
            let ids =
                numbers(&key, HIGHEST).map_err(|reason| format!("{key:?} names no caches: {reason}"))?;
            for id in ids {
                // The peers would take either of the two.
                if found.named.insert(id, value.clone()).is_some() {
                    return Err(format!("{key}: cache {id} is named twice"));
                }
            }
        }
        Ok(found)
    }

    pub(super) fn get(&self, id: u64) -> &T {
        self.named.get(&id).unwrap_or(&self.all)
    }

    /// Everything that some cache may have.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.named.values().chain([&self.all])
    }

    /// Those that are named.
    pub(super) fn named(&self) -> impl Iterator<Item = u64> {
        self.named.keys().copied()
    }
}

/// The numbers of a list such as `0-3,5`.
pub(super) fn numbers(list: &str, highest: u64) -> Result<Vec<u64>, String> {
    let number = |text: &str| {
        let number = decimal(text).filter(|number| *number <= highest);
        number.ok_or_else(|| format!("{text:?} is no number from 0 to {highest}"))
    };
    let mut found = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            None => found.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if last <= first {
                    return Err(format!(
                        "{part:?} is no range, which goes from a lower number to a higher one"
                    ));
                }
                found.extend(first..=last);
            }
        }
    }
    Ok(found)
}

/// A number of digits alone: no sign, and nothing around it.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
