//! Packet filter state of attachments: elements of sets and maps, each with a comment that says whose it is.
//!
//! A table with its sets, chains and rules is made once; then an attachment costs one transaction that adds
//! elements. The tables are left standing when they are empty, as those of the standard plugins are.

pub(crate) mod masquerade;
pub(crate) mod spoof;

use crate::failure::system;
use crate::types::CniError;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use sys::netlink::Socket;
use sys::nft::{Element, Family, Transaction, elements, find, generation};
use sys::{SysError, SysResult};

/// Missing: the table or a set is not there (any more).
const ENOENT: i32 = 2;
/// The key is taken.
const EEXIST: i32 = 17;
/// The kernel's number for "the tables have changed since"; it is not among those of the C library.
const ERESTART: i32 = 85;
/// Each attempt that another program's change defeats costs some 100 µs.
const ATTEMPTS: usize = 50;

/// What this process knows to exist: network namespace, and name of a table or of a table and chain.
static KNOWN: Mutex<Option<HashSet<(u64, String)>>> = Mutex::new(None);
/// One change at a time in this process: they would only defeat one another.
static TURN: Mutex<()> = Mutex::new(());

/// The socket of the network namespace in which the last change was made, kept open: when one is closed after
/// elements were removed, the kernel waits until it has freed them (12 ms).
static SOCKET: Mutex<Option<(u64, Arc<Socket>)>> = Mutex::new(None);

/// A netfilter socket of the calling thread's network namespace.
fn socket() -> Result<Arc<Socket>, CniError> {
    let here = Socket::route().map_err(system)?.netns_cookie();
    let mut kept = SOCKET.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((cookie, socket)) = &*kept
        && *cookie == here
        && here != 0
    {
        return Ok(Arc::clone(socket));
    }
    let fresh = Arc::new(Socket::netfilter().map_err(system)?);
    *kept = Some((here, Arc::clone(&fresh)));
    Ok(fresh)
}

/// A table: what it is called, the sets whose elements belong to attachments, and how it is made.
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: &'static str,
    pub(crate) sets: &'static [&'static str],
    /// Makes table, sets, chains and rules, over those that may exist.
    pub(crate) build: fn(&mut Transaction<'_>),
}

/// A chain that some elements lead to.
pub(crate) struct Chain<'a> {
    pub(crate) name: String,
    pub(crate) build: &'a dyn Fn(&mut Transaction<'_>, &str),
}

/// Elements to be added, each with its set.
pub(crate) type Entries = Vec<(&'static str, Element)>;

impl Table {
    /// Adds elements. One whose key is taken replaces what has it: the key is an address or port that its
    /// former owner has lost, or the newer of two claims wins, as with the standard plugins.
    pub(crate) fn insert(&self, chains: &[Chain<'_>], entries: &Entries) -> Result<(), CniError> {
        let socket = socket()?;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut replace = false;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.try_insert(&socket, chains, entries, replace) {
                Ok(()) => return Ok(()),
                Err(error) if error.errno == EEXIST && error.op == "add nft elements" => replace = true,
                Err(error) if error.errno == ENOENT => self.forget(&socket),
                Err(error) if error.errno == ERESTART => {}
                Err(error) => return Err(system(error)),
            }
            last.get_or_insert_with(|| SysError::new("change nft table", self.name, ERESTART));
        }
        Err(system(last.unwrap_or_else(|| SysError::new("change nft table", self.name, ERESTART))))
    }

    fn try_insert(
        &self,
        socket: &Socket,
        chains: &[Chain<'_>],
        entries: &Entries,
        replace: bool,
    ) -> SysResult<()> {
        let cookie = socket.netns_cookie();
        let since = if replace { Some(generation(socket)?) } else { None };
        let mut tx = Transaction::new(self.family, self.name, since);
        let mut made = Vec::new();
        if !is_known(cookie, self.name) {
            (self.build)(&mut tx);
            made.push(self.name.to_owned());
        }
        for chain in chains {
            let name = format!("{} {}", self.name, chain.name);
            if !is_known(cookie, &name) {
                (chain.build)(&mut tx, &chain.name);
                made.push(name);
            }
        }
        for set in self.sets {
            let of_set: Vec<Element> =
                entries.iter().filter(|(name, _)| name == set).map(|(_, element)| element.clone()).collect();
            if of_set.is_empty() {
                continue;
            }
            if replace {
                let wanted: Vec<_> = of_set.iter().map(|element| (*set, element.key.clone())).collect();
                let taken = find(socket, self.family, self.name, &wanted)?;
                let keys: Vec<_> = taken.into_iter().map(|(_, element)| element.key).collect();
                tx.delete_elements(set, &keys);
            }
            tx.add_elements(set, &of_set);
        }
        tx.commit(socket)?;
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_default().extend(made.into_iter().map(|name| (cookie, name)));
        Ok(())
    }

    /// Removes the elements of an attachment, of which these are expected. Those that have another owner by
    /// now are left to it. When not all are found, every set is searched.
    pub(crate) fn release(&self, expected: &Entries, tag: &str) -> Result<(), CniError> {
        self.change(|socket| {
            let found = find(socket, self.family, self.name, &keys(expected))?;
            if expected.is_empty() || found.len() < expected.len() {
                return self.search(socket, &|comment| comment == tag);
            }
            Ok(found.into_iter().filter(|(_, element)| element.comment == tag).collect())
        })
    }

    /// Removes the elements whose comment satisfies the condition. No table, no elements: no error.
    pub(crate) fn remove(&self, condition: impl Fn(&str) -> bool) -> Result<(), CniError> {
        self.change(|socket| self.search(socket, &condition))
    }

    /// Removes the elements that a look at the table selects, unless the table changes meanwhile.
    fn change(&self, select: impl Fn(&Socket) -> SysResult<Entries>) -> Result<(), CniError> {
        let socket = socket()?;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = || {
            let since = generation(&socket)?;
            let selected = select(&socket)?;
            if selected.is_empty() {
                return Ok(());
            }
            let mut tx = Transaction::new(self.family, self.name, Some(since));
            for set in self.sets {
                let of_set = selected.iter().filter(|(name, _)| name == set);
                let keys: Vec<_> = of_set.map(|(_, element)| element.key.clone()).collect();
                tx.delete_elements(set, &keys);
            }
            tx.commit(&socket)
        };
        for _ in 0..ATTEMPTS {
            match attempt() {
                Err(error) if matches!(error.errno, ENOENT | ERESTART) => {}
                result => return result.map_err(system),
            }
        }
        Err(system(SysError::new("change nft table", self.name, ERESTART)))
    }

    /// The elements of every set whose comment satisfies the condition; none where there is no table.
    fn search(&self, socket: &Socket, condition: &dyn Fn(&str) -> bool) -> SysResult<Entries> {
        let mut all = Entries::new();
        for set in self.sets {
            match elements(socket, self.family, self.name, set) {
                Ok(found) => {
                    let own = found.into_iter().filter(|element| condition(&element.comment));
                    all.extend(own.map(|element| (*set, element)));
                }
                Err(error) if error.errno == ENOENT => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Verifies that every element is there as it was added.
    pub(crate) fn check(&self, entries: &Entries) -> Result<(), CniError> {
        let socket = socket()?;
        let found = find(&socket, self.family, self.name, &keys(entries)).map_err(system)?;
        match entries.iter().find(|entry| !found.contains(entry)) {
            None => Ok(()),
            Some((set, _)) => {
                let message = format!("an element of set {set} of nft table {} is missing", self.name);
                Err(CniError::new(CniError::INTERNAL, message))
            }
        }
    }

    fn forget(&self, socket: &Socket) {
        let cookie = socket.netns_cookie();
        let chains = format!("{} ", self.name);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get_or_insert_default()
            .retain(|(netns, name)| *netns != cookie || (name != self.name && !name.starts_with(&chains)));
    }
}

fn keys(entries: &Entries) -> Vec<(&'static str, Vec<u8>)> {
    entries.iter().map(|(set, element)| (*set, element.key.clone())).collect()
}

fn is_known(cookie: u64, name: &str) -> bool {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.as_ref().is_some_and(|known| known.contains(&(cookie, name.to_owned())))
}
