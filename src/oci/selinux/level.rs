//! Categories that tell one pod's processes and files from another's (MCS): a pair that no other pod has.

use crate::error::{OciError, OciResult};
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

/// How many categories policies have.
const CATEGORIES: u32 = 1024;
/// So many pairs are tried; with as many pods as nodes have, the first is nearly always free.
const ATTEMPTS: usize = 10_000;

/// The levels in use, and by how many.
#[derive(Debug, Default)]
pub struct Levels(Mutex<HashMap<String, usize>>);

/// A level in use, until it is dropped.
#[derive(Debug)]
pub struct Reserved {
    level: String,
    levels: Arc<Levels>,
}

impl Levels {
    /// A pair of categories that nobody uses.
    ///
    /// # Errors
    /// [`OciError::Io`] when the kernel has no random numbers, [`OciError::NoLevel`] when (nearly) all pairs are in use.
    pub fn choose(self: &Arc<Self>) -> OciResult<Reserved> {
        for _ in 0..ATTEMPTS {
            let [a, b] = random_pair()?;
            let level = match a.cmp(&b) {
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Less => format!("s0:c{a},c{b}"),
                std::cmp::Ordering::Greater => format!("s0:c{b},c{a}"),
            };
            let mut used = self.used();
            if !used.contains_key(&level) {
                used.insert(level.clone(), 1);
                return Ok(Reserved { level, levels: Arc::clone(self) });
            }
        }
        Err(OciError::NoLevel)
    }

    /// Takes one that was asked for, or that was chosen before; it may be in use already.
    pub fn reserve(self: &Arc<Self>, level: &str) -> Reserved {
        *self.used().entry(level.to_owned()).or_default() += 1;
        Reserved { level: level.to_owned(), levels: Arc::clone(self) }
    }

    #[cfg(test)]
    pub(super) fn is_used(&self, level: &str) -> bool {
        self.used().contains_key(level)
    }

    fn used(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        sys::sync::lock(&self.0)
    }
}

impl Reserved {
    /// The level, such as `s0:c1,c2`.
    pub fn level(&self) -> &str {
        &self.level
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut used = self.levels.used();
        match used.get_mut(&self.level) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(used.remove(&self.level)),
        }
    }
}

fn random_pair() -> OciResult<[u32; 2]> {
    let mut bytes = [0; 8];
    let source = "/dev/urandom";
    let read = std::fs::File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(OciError::io("read", source))?;
    // 1024 divides 2^32: no category is likelier than another.
    let [a, b, c, d, e, f, g, h] = bytes;
    Ok([[a, b, c, d], [e, f, g, h]].map(|four| u32::from_ne_bytes(four) % CATEGORIES))
}

/// Whether a text is a level: `s0`, `s0-s1`, each also with categories as in `s0:c1,c3.c5`; empty is none.
pub(super) fn is_valid(level: &str) -> bool {
    let number = |text: &str, letter: char| {
        let digits = text.strip_prefix(letter).unwrap_or_default();
        (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let range = |text: &str| text.splitn(2, '.').all(|one| number(one, 'c'));
    let one = |text: &str| match text.split_once(':') {
        None => number(text, 's'),
        Some((sensitivity, categories)) => number(sensitivity, 's') && categories.split(',').all(range),
    };
    level.is_empty() || level.splitn(2, '-').all(one)
}
