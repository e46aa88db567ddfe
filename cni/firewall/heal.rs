//! Making again what somebody has flushed, as `nft flush ruleset` does.

use super::{Chain, Entries, Filter, Table, of_set};
use crate::failure::system;
use crate::types::CniError;
use std::collections::HashMap;
use sys::SysResult;
use sys::netlink::Socket;
use sys::nft::{Transaction, rules};

/// They must fit the buffer of a socket.
const ELEMENTS_AT_ONCE: usize = 512;

impl Table {
    /// Makes what is missing of the table, its rules and these entries of it. A key that is there is left to who has it.
    /// Whether anything was missing.
    pub(crate) fn heal(
        &self,
        filter: &Filter,
        chains: &[Chain<'_>],
        entries: &Entries,
    ) -> Result<bool, CniError> {
        if entries.is_empty() {
            return Ok(false);
        }
        self.heal_all(filter, chains, entries)
    }

    /// The same of a table whose rules are needed without any element too.
    pub(crate) fn heal_all(
        &self,
        filter: &Filter,
        chains: &[Chain<'_>],
        entries: &Entries,
    ) -> Result<bool, CniError> {
        let session = filter.open()?;
        let socket = &*session.socket;
        let missing = self.missing(socket, entries).map_err(system)?;
        if missing.is_empty() && self.has_rules(socket, chains).map_err(system)? {
            return Ok(false);
        }
        session.forget(self.name);
        self.insert(filter, chains, &Entries::new())?;
        for part in missing.chunks(ELEMENTS_AT_ONCE) {
            self.insert(filter, chains, &part.to_vec())?;
        }
        Ok(true)
    }

    /// Whether every chain has as many rules as it is made with.
    fn has_rules(&self, socket: &Socket, chains: &[Chain<'_>]) -> SysResult<bool> {
        let mut whole = Transaction::new(self.family, self.name, None);
        (self.build)(&mut whole);
        for chain in chains {
            (chain.build)(&mut whole, &chain.name);
        }
        let found = rules(socket, self.family, self.name)?;
        let (wanted, found) = (count(whole.rules()), count(&found));
        Ok(wanted.iter().all(|(chain, rules)| found.get(chain) == Some(rules)))
    }

    fn missing(&self, socket: &Socket, entries: &Entries) -> SysResult<Entries> {
        let mut missing = Entries::new();
        let waiting = match self.queue {
            Some(queue) => self.elements_of(socket, queue.set)?,
            None => Vec::new(),
        };
        for set in self.sets {
            let wanted = of_set(entries, set);
            if wanted.is_empty() {
                continue;
            }
            let found: HashMap<_, _> = self
                .elements_of(socket, set)?
                .into_iter()
                .map(|element| (element.key.clone(), element))
                .collect();
            missing.extend(wanted.into_iter().map(|element| (*set, element)).filter(|(_, element)| {
                match (found.get(&element.key), self.queue) {
                    (None, _) => true,
                    (Some(holder), Some(queue)) if queue.is_for(set) && holder.comment != element.comment => {
                        !queue.has(&waiting, set, element)
                    }
                    (Some(_), _) => false,
                }
            }));
        }
        Ok(missing)
    }
}

fn count(chains: &[String]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for chain in chains {
        *counts.entry(chain.as_str()).or_insert(0) += 1;
    }
    counts
}
