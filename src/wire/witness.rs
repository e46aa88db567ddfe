//! Watches, for the tests of one thread, which fields and variants are written.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Seen {
    /// By field, whether it ever said something.
    fields: BTreeMap<String, bool>,
    /// By variant, whether it was ever written.
    variants: BTreeMap<String, bool>,
    /// By field that belongs to a feature, whether it was ever made use of.
    newer: BTreeMap<String, bool>,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

fn note(map: &mut BTreeMap<String, bool>, name: String, seen: bool) {
    *map.entry(name).or_default() |= seen;
}

pub(crate) fn field(structure: &str, field: &str, bytes: &[u8]) {
    // Whatever says nothing (0, false, no bytes, nothing) is written as zeros, and nothing else is.
    let said = bytes.iter().any(|byte| *byte != 0);
    SEEN.with_borrow_mut(|seen| note(&mut seen.fields, format!("{structure}.{field}"), said));
}

pub(crate) fn newer(structure: &str, field: &str, used: bool) {
    SEEN.with_borrow_mut(|seen| note(&mut seen.newer, format!("{structure}.{field}"), used));
}

pub(crate) fn variant(enumeration: &str, all: &[&str], written: &str) {
    SEEN.with_borrow_mut(|seen| {
        for name in all {
            note(&mut seen.variants, format!("{enumeration}::{name}"), *name == written);
        }
    });
}

/// The fields and variants that came by since the last question without saying anything.
pub(crate) fn silent() -> Vec<String> {
    let seen = SEEN.take();
    let all = seen.fields.into_iter().chain(seen.variants);
    all.filter(|(_, said)| !said).map(|(name, _)| name).collect()
}

/// The fields and variants that have said something since the last question.
pub(crate) fn said() -> BTreeSet<String> {
    let seen = SEEN.take();
    let all = seen.fields.into_iter().chain(seen.variants);
    all.filter(|(_, said)| *said).map(|(name, _)| name).collect()
}

/// The fields that belong to a feature and came by since the last question: whether they were made use of.
pub(crate) fn of_features() -> BTreeMap<String, bool> {
    SEEN.take().newer
}
