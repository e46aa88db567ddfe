//! nf_tables: packet rules, encoded here as far as Corten needs them.
//!
//! What a pod needs from the packet filter is put into sets and maps, of which an element is added in 30 µs
//! whatever their size, not into rules. A [`Transaction`] is carried out as a whole or not at all.

mod element;
mod expr;
mod transaction;
mod uapi;

pub use element::{Data, Element, KeyBytes, elements, find};
pub use expr::{Expressions, Header, Meta, Reg, Verdict};
pub use transaction::{Hook, SetData, Transaction, Type, generation, rules};

const SUBSYSTEM: u16 = 10 << 8;

const NEW_TABLE: u16 = SUBSYSTEM;
const DEL_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const DEL_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DEL_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DEL_ELEMENT: u16 = SUBSYSTEM | 14;
const NEW_GENERATION: u16 = SUBSYSTEM | 15;
const GET_GENERATION: u16 = SUBSYSTEM | 16;

/// Bytes of a `nfgenmsg`, with which every message begins.
const HEADER: usize = 4;
/// The entries of lists of elements and expressions.
const LIST_ITEM: u16 = 1;
/// Within a piece of data.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// The kind of packets that a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// Frames that cross a bridge.
    Bridge,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Bridge => 7,
        }
    }
}

fn header(w: &mut crate::netlink::Writer, family: u8, resource: u16) {
    w.raw(&[family, 0]);
    w.raw(&resource.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
