//! Chains that nothing leads to any more: those of networks that are gone.

use super::Table;
use super::{ATTEMPTS, ENOENT, ERESTART, Filter};
use crate::failure::system;
use crate::types::CniError;
use std::collections::BTreeSet;
use sys::nft::{Data, Transaction, generation, rules};
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
}
