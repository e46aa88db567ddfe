//! Changes of one table that are carried out together.

use super::element::{ELEMENT_KEY, Element, LIST_ELEMENTS, LIST_SET, LIST_TABLE};
use super::expr::Expressions;
use super::uapi::{self, chain, rule, set};
use super::{
    DATA_VALUE, DEL_CHAIN, DEL_ELEMENT, DEL_RULE, DEL_TABLE, Family, GET_GENERATION, GET_RULE, HEADER,
    LIST_ITEM, NEW_CHAIN, NEW_ELEMENT, NEW_GENERATION, NEW_RULE, NEW_SET, NEW_TABLE,
};
use crate::netlink::{ACK, Batch, CREATE, DUMP, EXCL, Socket, Writer, attr, read_be32, read_str};
use crate::{SysError, SysResult};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const BATCH_GENERATION: u16 = 1;
const SUBSYSTEM: u16 = 10;
const APPEND: u16 = 0x800;
const SET_IS_MAP: u32 = 0x8;
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// Bits of each part in the type of a concatenation, as `nft` reads it.
const TYPE_BITS: u32 = 6;
/// Elements in one message: far below the 64 KiB that an attribute can hold.
const ELEMENTS_A_MESSAGE: usize = 128;

/// Where a base chain sees packets, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// NAT of connections that come in, before routing.
    NatPrerouting,
    /// NAT of connections that the host makes.
    NatOutput,
    /// NAT of connections that leave, after routing.
    NatPostrouting,
    /// Filtering of what comes in, before everything else.
    FilterPrerouting,
}

/// What makes a chain one that packets come to by themselves.
struct BaseChain {
    kind: &'static str,
    hook: u32,
    priority: i32,
}

/// `NF_INET_PRE_ROUTING`.
const PREROUTING: u32 = 0;
/// `NF_INET_LOCAL_OUT`.
const OUTPUT: u32 = 3;
/// `NF_INET_POST_ROUTING`.
const POSTROUTING: u32 = 4;
/// `NF_IP_PRI_RAW`.
const PRIORITY_RAW: i32 = -300;
/// `NF_IP_PRI_NAT_DST`.
const PRIORITY_DESTINATION_NAT: i32 = -100;
/// `NF_IP_PRI_NAT_SRC`.
const PRIORITY_SOURCE_NAT: i32 = 100;

impl Hook {
    fn chain(self) -> BaseChain {
        let chain = |kind, hook, priority| BaseChain { kind, hook, priority };
        match self {
            Self::NatPrerouting => chain("nat", PREROUTING, PRIORITY_DESTINATION_NAT),
            Self::NatOutput => chain("nat", OUTPUT, PRIORITY_DESTINATION_NAT),
            Self::NatPostrouting => chain("nat", POSTROUTING, PRIORITY_SOURCE_NAT),
            Self::FilterPrerouting => chain("filter", PREROUTING, PRIORITY_RAW),
        }
    }
}

/// The type of a part of a key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A hardware address.
    Mac,
    /// The number of a transport protocol.
    Transport,
    /// A port.
    Port,
    /// The name of an interface.
    Interface,
    /// A number of 4 bytes in the host's order, which `nft` shows as a packet mark.
    Number,
}

impl Type {
    /// The number by which `nft` knows it, and its size in registers.
    fn parts(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
            Self::Mac => (9, 8),
            Self::Transport => (12, 4),
            Self::Port => (13, 4),
            Self::Interface => (41, 16),
            Self::Number => (19, 4),
        }
    }

    fn concatenated(parts: &[Self]) -> (u32, u32) {
        parts.iter().fold((0, 0), |(kind, len), part| {
            let (part_kind, part_len) = part.parts();
            ((kind << TYPE_BITS) | part_kind, len + part_len)
        })
    }
}

/// What the keys of a set lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetData<'a> {
    /// Nothing: a plain set.
    Nothing,
    /// Verdicts.
    Verdicts,
    /// Values of these parts.
    Values(&'a [Type]),
}

/// Changes of one table.
#[derive(Debug)]
pub struct Transaction<'a> {
    batch: Batch,
    family: Family,
    table: &'a str,
    sets: u32,
    rules: Vec<String>,
}

impl<'a> Transaction<'a> {
    /// Begins. With a `generation` it fails with `ERESTART` when any table has changed since.
    pub fn new(family: Family, table: &'a str, generation: Option<u32>) -> Self {
        let mut batch = Batch::new();
        batch.message(("begin nft transaction", table), BATCH_BEGIN, 0, |w| {
            super::header(w, 0, SUBSYSTEM);
            if let Some(generation) = generation {
                w.attr_be32(BATCH_GENERATION, generation);
            }
        });
        Self { batch, family, table, sets: 0, rules: Vec::new() }
    }

    fn push(
        &mut self,
        (op, what): (&'static str, &str),
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) {
        let family = self.family.number();
        self.batch.message((op, what), kind, flags | ACK, |w| {
            super::header(w, family, 0);
            body(w);
        });
    }

    /// Makes the table unless it exists.
    pub fn add_table(&mut self) {
        let table = self.table;
        self.push(("add nft table", table), NEW_TABLE, CREATE, |w| w.attr_str(uapi::table::NAME, table));
    }

    /// Removes the table with everything in it.
    pub fn delete_table(&mut self) {
        let table = self.table;
        self.push(("delete nft table", table), DEL_TABLE, 0, |w| w.attr_str(uapi::table::NAME, table));
    }

    /// Makes a chain unless it exists.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        let table = self.table;
        self.push(("add nft chain", name), NEW_CHAIN, CREATE, |w| {
            w.attr_str(chain::TABLE, table);
            w.attr_str(chain::NAME, name);
            if let Some(BaseChain { kind, hook, priority }) = hook.map(Hook::chain) {
                w.nest(chain::HOOK, |w| {
                    w.attr_be32(uapi::hook::NUMBER, hook);
                    w.attr(uapi::hook::PRIORITY, &priority.to_be_bytes());
                });
                w.attr_str(chain::TYPE, kind);
            }
        });
    }

    /// Removes the rules of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        let table = self.table;
        self.push(("flush nft chain", name), DEL_RULE, 0, |w| {
            w.attr_str(rule::TABLE, table);
            w.attr_str(rule::CHAIN, name);
        });
    }

    /// Removes a chain with its rules. The kernel refuses that while something leads to it.
    pub fn delete_chain(&mut self, name: &str) {
        let table = self.table;
        self.push(("delete nft chain", name), DEL_CHAIN, 0, |w| {
            w.attr_str(chain::TABLE, table);
            w.attr_str(chain::NAME, name);
        });
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, name: &str, expressions: &Expressions) {
        let table = self.table;
        self.rules.push(name.to_owned());
        self.push(("add nft rule", name), NEW_RULE, CREATE | APPEND, |w| {
            w.attr_str(rule::TABLE, table);
            w.attr_str(rule::CHAIN, name);
            w.nest(rule::EXPRESSIONS, |w| w.raw(expressions.bytes()));
        });
    }

    /// The chain of each rule that is appended.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Makes a set or map unless it exists.
    pub fn add_set(&mut self, name: &str, key: &[Type], data: SetData<'_>) {
        let table = self.table;
        self.sets += 1;
        let id = self.sets;
        let (key_type, key_len) = Type::concatenated(key);
        self.push(("add nft set", name), NEW_SET, CREATE, |w| {
            w.attr_str(set::TABLE, table);
            w.attr_str(set::NAME, name);
            w.attr_be32(set::FLAGS, if data == SetData::Nothing { 0 } else { SET_IS_MAP });
            w.attr_be32(set::KEY_TYPE, key_type);
            w.attr_be32(set::KEY_LEN, key_len);
            match data {
                SetData::Nothing => {}
                SetData::Verdicts => {
                    w.attr_be32(set::DATA_TYPE, VERDICT_TYPE);
                    w.attr_be32(set::DATA_LEN, 0);
                }
                SetData::Values(parts) => {
                    let (data_type, data_len) = Type::concatenated(parts);
                    w.attr_be32(set::DATA_TYPE, data_type);
                    w.attr_be32(set::DATA_LEN, data_len);
                }
            }
            w.attr_be32(set::ID, id);
        });
    }

    /// Adds elements; one whose key is there already fails the transaction with `EEXIST`.
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        let table = self.table;
        for elements in elements.chunks(ELEMENTS_A_MESSAGE) {
            self.push(("add nft elements", set), NEW_ELEMENT, CREATE | EXCL, |w| {
                w.attr_str(LIST_TABLE, table);
                w.attr_str(LIST_SET, set);
                w.nest(LIST_ELEMENTS, |w| elements.iter().for_each(|element| element.write(w)));
            });
        }
    }

    /// Removes elements by key; one that is not there fails the transaction with `ENOENT`.
    pub fn delete_elements(&mut self, set: &str, keys: &[Vec<u8>]) {
        let table = self.table;
        for keys in keys.chunks(ELEMENTS_A_MESSAGE) {
            self.push(("delete nft elements", set), DEL_ELEMENT, 0, |w| {
                w.attr_str(LIST_TABLE, table);
                w.attr_str(LIST_SET, set);
                w.nest(LIST_ELEMENTS, |w| {
                    for key in keys {
                        w.nest(LIST_ITEM, |w| w.nest(ELEMENT_KEY, |w| w.attr(DATA_VALUE, key)));
                    }
                });
            });
        }
    }

    /// Carries everything out.
    ///
    /// # Errors
    /// The first change that failed; nothing has changed then.
    pub fn commit(mut self, socket: &Socket) -> SysResult<()> {
        self.batch.message(("commit nft transaction", self.table), BATCH_END, 0, |w| {
            super::header(w, 0, SUBSYSTEM);
        });
        socket.run(&mut self.batch).map(|_| ())
    }
}

/// The chain of each rule of a table; none where there is no such table.
///
/// # Errors
/// When the kernel refuses the question.
pub fn rules(socket: &Socket, family: Family, table: &str) -> SysResult<Vec<String>> {
    let mut batch = Batch::new();
    batch
        .message(("list nft rules", table), GET_RULE, DUMP, |w| {
            super::header(w, family.number(), 0);
            w.attr_str(rule::TABLE, table);
        })
        .tolerate(libc::ENOENT);
    let replies = socket.run(&mut batch)?;
    let rules = replies.iter().filter(|reply| reply.kind == NEW_RULE);
    let bodies = rules.filter_map(|reply| reply.body.get(HEADER..));
    // Kernels that do not know the filter list the rules of every table of the family.
    let own = bodies.filter(|body| attr(body, rule::TABLE).map(read_str).as_deref() == Some(table));
    Ok(own.filter_map(|body| attr(body, rule::CHAIN)).map(read_str).collect())
}

/// The number of the current state of every table: it changes with every transaction of anyone.
///
/// # Errors
/// When the kernel has no nf_tables.
pub fn generation(socket: &Socket) -> SysResult<u32> {
    let mut batch = Batch::new();
    batch.message(("get nft generation", ""), GET_GENERATION, ACK, |w| super::header(w, 0, 0));
    let replies = socket.run(&mut batch)?;
    let reply = replies.iter().find(|reply| reply.kind == NEW_GENERATION);
    reply
        .and_then(|reply| attr(reply.body.get(HEADER..)?, uapi::generation::ID))
        .and_then(read_be32)
        .ok_or_else(|| SysError::new("get nft generation", "", libc::ENODATA))
}
