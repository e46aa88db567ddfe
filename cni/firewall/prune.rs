//! Chains that nothing leads to any more: those of networks that are gone.

use super::Table;
use super::{ATTEMPTS, ENOENT, ERESTART, Filter};
use crate::failure::system;
use crate::types::CniError;
use std::collections::BTreeSet;
use sys::nft::{Data, Transaction, elements, generation, rules};
use sys::sync::lock;
use sys::{SysError, SysResult};

impl Table {
    /// Removes the chains whose names begin so and that no element leads to. One that is needed again is made again.
    pub(super) fn prune(&self, filter: &Filter, prefix: &str) -> Result<(), CniError> {
        let session = filter.open()?;
        let socket = &*session.socket;
        let _turn = lock(&filter.turn);
        let attempt = || -> SysResult<()> {
            let since = generation(socket)?;
            let mut unused: BTreeSet<String> = rules(socket, self.family, self.name)?
                .into_iter()
                .filter(|chain| chain.starts_with(prefix))
                .collect();
            for set in self.sets {
                for element in self.elements_of(socket, set)? {
                    if let Some(Data::Goto(chain)) = element.data {
                        unused.remove(&chain);
                    }
                }
            }
            if unused.is_empty() {
                return Ok(());
            }
            let mut tx = Transaction::new(self.family, self.name, Some(since));
            for chain in &unused {
                tx.delete_chain(chain);
            }
            tx.commit(socket)?;
            session.forget(self.name);
            Ok(())
        };
        for _ in 0..ATTEMPTS {
            match attempt() {
                Err(error) if matches!(error.errno, ENOENT | ERESTART) => {}
                result => return result.map_err(system),
            }
        }
        Err(system(SysError::new("change nft table", self.name, ERESTART)))
    }

    /// Removes the table, unless some attachment has an element in it.
    fn remove_if_empty(&self, filter: &Filter) -> Result<(), CniError> {
        let socket = filter.socket()?;
        let _turn = lock(&filter.turn);
        let attempt = || -> SysResult<()> {
            let since = generation(&socket)?;
            for set in self.sets {
                if !self.elements_of(&socket, set)?.is_empty() {
                    return Ok(());
                }
            }
            let mut tx = Transaction::new(self.family, self.name, Some(since));
            tx.delete_table();
            tx.commit(&socket)
        };
        for _ in 0..ATTEMPTS {
            match attempt() {
                Err(error) if error.errno == ERESTART => {}
                Err(error) if error.errno == ENOENT => return Ok(()),
                result => return result.map_err(system),
            }
        }
        Err(system(SysError::new("change nft table", self.name, ERESTART)))
    }
}

/// Those of these plugins.
const TABLES: [Table; 3] = [super::masquerade::TABLE, super::spoof::TABLE, crate::portmap::rules::TABLE];

/// Removes the tables of these plugins in which nobody has an entry any more.
///
/// # Errors
/// What the kernel refuses.
pub fn remove_empty_tables() -> Result<(), CniError> {
    let filter = Filter::default();
    TABLES.iter().try_for_each(|table| table.remove_if_empty(&filter))
}

/// The tables of these plugins that are there, by their names.
///
/// # Errors
/// What the kernel refuses.
pub fn tables() -> Result<Vec<&'static str>, CniError> {
    let filter = Filter::default();
    let socket = filter.socket()?;
    let mut there = Vec::new();
    for table in &TABLES {
        // Each has been made with its sets.
        let found =
            table.sets.iter().try_for_each(|set| elements(&socket, table.family, table.name, set).map(drop));
        match found {
            Ok(()) => there.push(table.name),
            Err(error) if error.errno == ENOENT => {}
            Err(error) => return Err(system(error)),
        }
    }
    Ok(there)
}
