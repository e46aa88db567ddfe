//! Lists and maps of which every entry has an owner of its own.

use super::error::MergeError;
use super::owners::Claims;
use super::removal::{mark, marked};
use crate::api::{Field, KeyValue, LinuxDevice, LinuxNamespace, Mount};
use std::collections::{BTreeMap, HashSet};
use std::mem;

/// An entry of a list that is known by a key.
pub(super) trait Keyed: Clone {
    const FIELD: Field;

    fn key(&self) -> &str;
}

impl Keyed for Mount {
    const FIELD: Field = Field::Mounts;

    fn key(&self) -> &str {
        &self.destination
    }
}

impl Keyed for LinuxDevice {
    const FIELD: Field = Field::Devices;

    fn key(&self) -> &str {
        &self.path
    }
}

impl Keyed for LinuxNamespace {
    const FIELD: Field = Field::Namespace;

    fn key(&self) -> &str {
        &self.r#type
    }
}

impl Keyed for KeyValue {
    const FIELD: Field = Field::Env;

    fn key(&self) -> &str {
        &self.key
    }
}

/// What a plugin takes away and what it sets; a removal goes before a setting of the same reply.
pub(super) struct Split<T> {
    removed: Vec<T>,
    pub(super) set: Vec<T>,
    removed_keys: HashSet<String>,
    set_keys: HashSet<String>,
}

impl<T: Keyed> Split<T> {
    pub(super) fn of(asked: Vec<T>) -> Self {
        let (removed, set): (Vec<T>, Vec<T>) =
            asked.into_iter().partition(|entry| marked(entry.key()).is_some());
        let removed_keys =
            removed.iter().filter_map(|entry| marked(entry.key())).map(str::to_owned).collect();
        let set_keys = set.iter().map(|entry| entry.key().to_owned()).collect();
        Self { removed, set, removed_keys, set_keys }
    }

    pub(super) fn touches(&self, key: &str) -> bool {
        self.removes(key) || self.set_keys.contains(key)
    }

    fn removes(&self, key: &str) -> bool {
        self.removed_keys.contains(key)
    }

    /// Puts them to what was asked for before.
    pub(super) fn collect(&self, asked: &mut Vec<T>, claims: &mut Claims<'_>) -> Result<(), MergeError> {
        for entry in mem::take(asked) {
            if self.removes(entry.key()) {
                claims.free_entry(T::FIELD, entry.key());
            } else {
                asked.push(entry);
            }
        }
        for entry in &self.set {
            claims.entry(T::FIELD, entry.key())?;
        }
        let mut known: HashSet<String> = asked.iter().map(|entry| entry.key().to_owned()).collect();
        for entry in &self.removed {
            if known.insert(entry.key().to_owned()) {
                asked.push(entry.clone());
            }
        }
        asked.extend(self.set.iter().cloned());
        Ok(())
    }
}

/// A list of entries: what is asked for so far, and what the next plugin sees.
pub(super) fn list<T: Keyed>(
    new: Vec<T>,
    asked: &mut Vec<T>,
    shown: &mut Vec<T>,
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    let split = Split::of(new);
    split.collect(asked, claims)?;
    shown.retain(|entry| !split.touches(entry.key()));
    shown.extend(split.set);
    Ok(())
}

/// A map: what is asked for so far, and what the next plugin sees.
pub(super) fn map<V: Clone + Default>(
    field: Field,
    new: BTreeMap<String, V>,
    asked: &mut BTreeMap<String, V>,
    shown: &mut BTreeMap<String, V>,
    claims: &mut Claims<'_>,
) -> Result<(), MergeError> {
    let (removed, set): (Vec<_>, Vec<_>) = new.into_iter().partition(|(key, _)| marked(key).is_some());
    for (key, _) in &removed {
        let Some(key) = marked(key) else { continue };
        shown.remove(key);
        if asked.remove(key).is_some() {
            claims.free_entry(field, key);
        }
        asked.insert(mark(key), V::default());
    }
    for (key, value) in set {
        claims.entry(field, &key)?;
        shown.insert(key.clone(), value.clone());
        asked.insert(key, value);
    }
    Ok(())
}
