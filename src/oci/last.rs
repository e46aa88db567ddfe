//! Lists of which the last entry of a key counts.

use std::collections::HashSet;
use std::hash::Hash;

/// Keeps the last entry of each key, in their order.
pub(crate) fn keep_last<T, K: Eq + Hash + ?Sized>(all: &mut Vec<T>, key: impl Fn(&T) -> &K) {
    let mut seen = HashSet::with_capacity(all.len());
    let mut kept: Vec<bool> = all.iter().rev().map(|entry| seen.insert(key(entry))).collect();
    all.retain(|_| kept.pop().unwrap_or(true));
}
