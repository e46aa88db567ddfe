//! Which plugin owns which field of which container.
//!
//! A field has one owner; a list or a map has one for each of its keys. Who takes away what another plugin has set is
//! noted with the removal's mark before its name: it alone may set the field again.

use super::error::MergeError;
use super::removal::{mark, marked};
use crate::api::{CompoundFieldOwners, Field, FieldOwners, OwningPlugins};

/// What one plugin claims of one container.
pub(super) struct Claims<'a> {
    owners: &'a mut FieldOwners,
    plugin: &'a str,
}

impl<'a> Claims<'a> {
    pub(super) fn of(table: &'a mut OwningPlugins, container: &str, plugin: &'a str) -> Self {
        Self { owners: table.owners.entry(container.to_owned()).or_default(), plugin }
    }

    /// Takes a field as a whole.
    pub(super) fn field(&mut self, field: Field) -> Result<(), MergeError> {
        let known = self.owners.simple.get(&(field as i32));
        self.check(known, || field.as_str_name().to_owned())?;
        self.owners.simple.insert(field as i32, self.plugin.to_owned());
        Ok(())
    }

    /// Takes an entry of a field.
    pub(super) fn entry(&mut self, field: Field, key: &str) -> Result<(), MergeError> {
        let known = self.owners.compound.get(&(field as i32)).and_then(|entries| entries.owners.get(key));
        self.check(known, || format!("{} {key:?}", field.as_str_name()))?;
        let plugin = self.plugin.to_owned();
        self.entries(field).owners.insert(key.to_owned(), plugin);
        Ok(())
    }

    /// Joins those who add to a field.
    pub(super) fn join(&mut self, field: Field) {
        let plugin = self.plugin;
        let owners = self.owners.simple.entry(field as i32);
        owners.and_modify(|all| *all = format!("{all},{plugin}")).or_insert_with(|| plugin.to_owned());
    }

    /// Frees a field for this plugin.
    pub(super) fn free_field(&mut self, field: Field) {
        self.owners.simple.insert(field as i32, mark(self.plugin));
    }

    /// Frees an entry for this plugin.
    pub(super) fn free_entry(&mut self, field: Field, key: &str) {
        let freed = mark(self.plugin);
        self.entries(field).owners.insert(key.to_owned(), freed);
    }

    fn entries(&mut self, field: Field) -> &mut CompoundFieldOwners {
        self.owners.compound.entry(field as i32).or_default()
    }

    fn check(&self, known: Option<&String>, field: impl FnOnce() -> String) -> Result<(), MergeError> {
        let owner = match known.map(|owner| (marked(owner), owner)) {
            None => return Ok(()),
            Some((Some(freed), _)) if freed == self.plugin => return Ok(()),
            Some((Some(freed), _)) => freed,
            Some((None, owner)) => owner,
        };
        Err(MergeError::Conflict { owner: owner.to_owned(), plugin: self.plugin.to_owned(), field: field() })
    }
}
