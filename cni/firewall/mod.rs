//! Packet filter state of attachments: elements of sets and maps, each with a comment that says whose it is.
//!
//! A table with its sets, chains and rules is made once; then an attachment costs one transaction that adds
//! elements. The tables are left standing when they are empty, as those of the standard plugins are.

mod heal;
pub(crate) mod masquerade;
mod prune;
mod queue;
pub(crate) mod spoof;

pub(crate) use queue::Queue;

use crate::failure::system;
use crate::types::CniError;
pub use prune::{remove_empty_tables, tables};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use sys::netlink::Socket;
use sys::nft::{Element, Family, Transaction, elements, find, generation};
use sys::sync::lock;
use sys::{SysError, SysResult};

/// Missing: the table or a set is not there (any more).
const ENOENT: i32 = 2;
/// The key is taken.
const EEXIST: i32 = 17;
/// The kernel's number for "the tables have changed since"; it is not among those of the C library.
const ERESTART: i32 = 85;
/// Each attempt that another program's change defeats costs some 100 µs.
const ATTEMPTS: usize = 50;

/// What is known of packet filters, by the network namespaces that they are in.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// What exists: network namespace, and name of a table or of a table and chain.
    known: Mutex<HashSet<(u64, String)>>,
    /// One change at a time: they would only defeat one another.
    turn: Mutex<()>,
    /// The socket of the network namespace in which the last change was made, kept open: when one is closed after
    /// elements were removed, the kernel waits until it has freed them (12 ms).
    socket: Mutex<Option<(u64, Arc<Socket>)>>,
}

impl Filter {
    /// A netfilter socket of the calling thread's network namespace.
    pub(crate) fn socket(&self) -> Result<Arc<Socket>, CniError> {
        let here = Socket::route().map_err(system)?.netns_cookie();
        let mut kept = lock(&self.socket);
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

    fn open(&self) -> Result<Session<'_>, CniError> {
        Ok(Session { filter: self, socket: self.socket()? })
    }
}

/// The filter of one network namespace.
struct Session<'a> {
    filter: &'a Filter,
    socket: Arc<Socket>,
}

impl Session<'_> {
    fn is_known(&self, name: &str) -> bool {
        lock(&self.filter.known).contains(&(self.socket.netns_cookie(), name.to_owned()))
    }

    fn learn(&self, made: Vec<String>) {
        let cookie = self.socket.netns_cookie();
        lock(&self.filter.known).extend(made.into_iter().map(|name| (cookie, name)));
    }

    /// A table may be gone, with its chains.
    fn forget(&self, table: &str) {
        let (cookie, chains) = (self.socket.netns_cookie(), format!("{table} "));
        let stays = |name: &str| name != table && !name.starts_with(&chains);
        lock(&self.filter.known).retain(|(netns, name)| *netns != cookie || stays(name));
    }
}

/// A table: what it is called, the sets whose elements belong to attachments, and how it is made.
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: &'static str,
    pub(crate) sets: &'static [&'static str],
    /// What becomes of those who claim a key that another attachment has; without it they take the key over.
    pub(crate) queue: Option<&'static Queue>,
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
    /// Adds elements. One whose key is taken replaces what has it, as the key is an address that its former owner has
    /// lost, or waits for it, where the table has a queue.
    pub(crate) fn insert(
        &self,
        filter: &Filter,
        chains: &[Chain<'_>],
        entries: &Entries,
    ) -> Result<(), CniError> {
        let session = filter.open()?;
        let _turn = lock(&filter.turn);
        let mut replace = false;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.try_insert(&session, chains, entries, replace) {
                Ok(()) => return Ok(()),
                Err(error) if error.errno == EEXIST && error.op == "add nft elements" => replace = true,
                Err(error) if error.errno == ENOENT => session.forget(self.name),
                Err(error) if error.errno == ERESTART => {}
                Err(error) => return Err(system(error)),
            }
            last.get_or_insert_with(|| SysError::new("change nft table", self.name, ERESTART));
        }
        Err(system(last.unwrap_or_else(|| SysError::new("change nft table", self.name, ERESTART))))
    }

    fn try_insert(
        &self,
        session: &Session<'_>,
        chains: &[Chain<'_>],
        entries: &Entries,
        replace: bool,
    ) -> SysResult<()> {
        let socket = &*session.socket;
        let since = if replace { Some(generation(socket)?) } else { None };
        let mut tx = Transaction::new(self.family, self.name, since);
        let mut made = Vec::new();
        if !session.is_known(self.name) {
            (self.build)(&mut tx);
            made.push(self.name.to_owned());
        }
        for chain in chains {
            let name = format!("{} {}", self.name, chain.name);
            if !session.is_known(&name) {
                (chain.build)(&mut tx, &chain.name);
                made.push(name);
            }
        }
        if replace {
            self.replacing(socket, entries)?.write(self.sets, &mut tx);
        } else {
            for set in self.sets {
                tx.add_elements(set, &of_set(entries, set));
            }
        }
        tx.commit(socket)?;
        session.learn(made);
        Ok(())
    }

    /// What adds these elements while some of their keys are taken.
    fn replacing(&self, socket: &Socket, entries: &Entries) -> SysResult<Changes> {
        let taken = find(socket, self.family, self.name, &keys(entries))?;
        let taken: HashMap<_, _> =
            taken.iter().map(|(set, element)| ((*set, element.key.as_slice()), element)).collect();
        let mut changes = Changes::default();
        let mut waiting = Entries::new();
        let mut places = HashMap::new();
        for (set, element) in entries {
            let key = (*set, element.key.as_slice());
            // Several may want one at once, when a table is made again.
            let before = places.get(&key).copied();
            let holder = before.map(|at: usize| &changes.add[at].1).or_else(|| taken.get(&key).copied());
            let queue = self.queue.filter(|queue| queue.is_for(set));
            match (holder, queue, before) {
                (Some(holder), Some(queue), _) if holder.comment != element.comment => {
                    waiting.push((queue.set, (queue.waiting)(set, element)));
                }
                (_, _, Some(before)) => changes.add[before].1 = element.clone(),
                (holder, ..) => {
                    changes.delete.extend(holder.map(|holder| (*set, holder.key.clone())));
                    places.insert(key, changes.add.len());
                    changes.add.push((*set, element.clone()));
                }
            }
        }
        let present = find(socket, self.family, self.name, &keys(&waiting))?;
        let present: HashSet<&[u8]> = present.iter().map(|(_, found)| found.key.as_slice()).collect();
        waiting.retain(|(_, element)| !present.contains(element.key.as_slice()));
        changes.add.extend(waiting);
        Ok(changes)
    }

    /// Removes the elements of an attachment, of which these are expected. Those that have another owner are left to it.
    /// When not all are found, every set is searched.
    pub(crate) fn release(&self, filter: &Filter, expected: &Entries, tag: &str) -> Result<(), CniError> {
        self.change(filter, |socket| {
            let found = find(socket, self.family, self.name, &keys(expected))?;
            let is_own = |(_, element): &(&str, Element)| element.comment == tag;
            // What another has is waited for perhaps.
            let all_own = self.queue.is_none() || found.iter().all(is_own);
            if expected.is_empty() || found.len() < expected.len() || !all_own {
                return self.search(socket, &|comment| comment == tag);
            }
            Ok(found.into_iter().filter(is_own).collect())
        })
    }

    /// Removes the elements whose comment satisfies the condition. No table, no elements: no error.
    pub(crate) fn remove(&self, filter: &Filter, condition: impl Fn(&str) -> bool) -> Result<(), CniError> {
        self.change(filter, |socket| self.search(socket, &condition))
    }

    /// Removes the elements that a look at the table selects, unless the table changes meanwhile. Keys that become free
    /// go to those who have waited longest for them.
    fn change(
        &self,
        filter: &Filter,
        select: impl Fn(&Socket) -> SysResult<Entries>,
    ) -> Result<(), CniError> {
        let socket = filter.socket()?;
        let _turn = lock(&filter.turn);
        let attempt = || {
            let since = generation(&socket)?;
            let selected = select(&socket)?;
            if selected.is_empty() {
                return Ok(());
            }
            let mut changes = Changes { delete: keys(&selected), add: Entries::new() };
            if let Some(queue) = self.queue.filter(|queue| selected.iter().any(|(set, _)| queue.is_for(set)))
            {
                let waiting = self.elements_of(&socket, queue.set)?;
                queue.advance(&selected, &waiting, &mut changes);
            }
            let mut tx = Transaction::new(self.family, self.name, Some(since));
            changes.write(self.sets, &mut tx);
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
            let found = self.elements_of(socket, set)?.into_iter();
            all.extend(found.filter(|element| condition(&element.comment)).map(|element| (*set, element)));
        }
        Ok(all)
    }

    /// The elements of a set; none where it, or the table, is not there.
    fn elements_of(&self, socket: &Socket, set: &str) -> SysResult<Vec<Element>> {
        match elements(socket, self.family, self.name, set) {
            Err(error) if error.errno == ENOENT => Ok(Vec::new()),
            found => found,
        }
    }

    /// Verifies that every element is there as it was added, or waits for its key.
    pub(crate) fn check(&self, filter: &Filter, entries: &Entries) -> Result<(), CniError> {
        let socket = filter.socket()?;
        let found = find(&socket, self.family, self.name, &keys(entries)).map_err(system)?;
        let mut missing: Vec<_> = entries.iter().filter(|entry| !found.contains(entry)).collect();
        if let Some(queue) = self.queue.filter(|_| !missing.is_empty()) {
            let waiting = self.elements_of(&socket, queue.set).map_err(system)?;
            missing.retain(|(set, element)| !queue.has(&waiting, set, element));
        }
        match missing.first() {
            None => Ok(()),
            Some((set, _)) => {
                let message = format!("an element of set {set} of nft table {} is missing", self.name);
                Err(CniError::new(CniError::INTERNAL, message))
            }
        }
    }
}

/// Elements to be removed and added together.
#[derive(Default)]
struct Changes {
    delete: Vec<(&'static str, Vec<u8>)>,
    add: Entries,
}

impl Changes {
    fn write(&self, sets: &[&'static str], tx: &mut Transaction<'_>) {
        for set in sets {
            let gone = self.delete.iter().filter(|(name, _)| name == set);
            tx.delete_elements(set, &gone.map(|(_, key)| key.clone()).collect::<Vec<_>>());
            tx.add_elements(set, &of_set(&self.add, set));
        }
    }
}

fn of_set(entries: &Entries, set: &str) -> Vec<Element> {
    entries.iter().filter(|(name, _)| *name == set).map(|(_, element)| element.clone()).collect()
}

fn keys(entries: &Entries) -> Vec<(&'static str, Vec<u8>)> {
    entries.iter().map(|(set, element)| (*set, element.key.clone())).collect()
}
