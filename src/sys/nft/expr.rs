//! The expressions of a rule: they load registers from the packet, look them up, and decide.

use super::uapi::{bitwise, compare, fib, immediate, lookup, meta, nat, payload};
use super::{DATA_VALUE, DATA_VERDICT, LIST_ITEM, VERDICT_CHAIN, VERDICT_CODE};
use crate::netlink::Writer;

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const VERDICT_REGISTER: u32 = 0;
const FIRST_32_BIT_REGISTER: u32 = 8;
const OP_EQUAL: u32 = 0;
const OP_NOT_EQUAL: u32 = 1;

/// One of the sixteen registers of 4 bytes; longer values take the following ones, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    fn number(self) -> u32 {
        FIRST_32_BIT_REGISTER + u32::from(self.0)
    }
}

/// What a packet carries beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// The name of the interface it came by: 16 bytes.
    InputName,
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10): 1 byte.
    Family,
    /// The transport protocol: 1 byte.
    Transport,
}

/// A header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Ethernet.
    Link,
    /// IP.
    Network,
    /// TCP, UDP, SCTP.
    Transport,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes this hook.
    Accept,
    /// The packet is gone.
    Drop,
    /// Back to the calling chain.
    Return,
    /// On to a chain, and back.
    Jump(String),
    /// On to a chain.
    Goto(String),
}

impl Verdict {
    /// Writes the content of a verdict attribute.
    pub(super) fn write(&self, w: &mut Writer) {
        let (code, chain) = match self {
            Self::Drop => (0i32, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
            Self::Return => (-5, None),
        };
        w.attr(VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            w.attr_str(VERDICT_CHAIN, chain);
        }
    }
}

/// The expressions of one rule, carried out in order until one does not match.
#[derive(Debug, Default)]
pub struct Expressions {
    writer: Writer,
}

impl Expressions {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.writer.bytes()
    }

    fn push(mut self, name: &str, body: impl FnOnce(&mut Writer)) -> Self {
        self.writer.nest(LIST_ITEM, |w| {
            w.attr_str(EXPR_NAME, name);
            w.nest(EXPR_DATA, body);
        });
        self
    }

    /// Loads what a packet carries beside its bytes.
    #[must_use]
    pub fn meta(self, key: Meta, to: Reg) -> Self {
        let key = match key {
            Meta::InputName => 6,
            Meta::Family => 15,
            Meta::Transport => 16,
        };
        self.push("meta", |w| {
            w.attr_be32(meta::TO, to.number());
            w.attr_be32(meta::KEY, key);
        })
    }

    /// Loads bytes of a header.
    #[must_use]
    pub fn payload(self, header: Header, offset: u32, len: u32, to: Reg) -> Self {
        let base = match header {
            Header::Link => 0,
            Header::Network => 1,
            Header::Transport => 2,
        };
        self.push("payload", |w| {
            w.attr_be32(payload::TO, to.number());
            w.attr_be32(payload::BASE, base);
            w.attr_be32(payload::OFFSET, offset);
            w.attr_be32(payload::LEN, len);
        })
    }

    fn compare(self, from: Reg, op: u32, value: &[u8]) -> Self {
        self.push("cmp", |w| {
            w.attr_be32(compare::FROM, from.number());
            w.attr_be32(compare::OP, op);
            w.nest(compare::VALUE, |w| w.attr(DATA_VALUE, value));
        })
    }

    /// Goes on when a register has this value.
    #[must_use]
    pub fn equals(self, from: Reg, value: &[u8]) -> Self {
        self.compare(from, OP_EQUAL, value)
    }

    /// Goes on when a register has another value.
    #[must_use]
    pub fn differs(self, from: Reg, value: &[u8]) -> Self {
        self.compare(from, OP_NOT_EQUAL, value)
    }

    /// Clears the bits of a register that the mask does not have.
    #[must_use]
    pub fn mask(self, reg: Reg, mask: &[u8]) -> Self {
        let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let zero = vec![0; mask.len()];
        self.push("bitwise", |w| {
            w.attr_be32(bitwise::FROM, reg.number());
            w.attr_be32(bitwise::TO, reg.number());
            w.attr_be32(bitwise::LEN, len);
            w.nest(bitwise::MASK, |w| w.attr(DATA_VALUE, mask));
            w.nest(bitwise::XOR, |w| w.attr(DATA_VALUE, &zero));
        })
    }

    /// Goes on when a set has the value.
    #[must_use]
    pub fn in_set(self, set: &str, from: Reg) -> Self {
        self.push("lookup", |w| {
            w.attr_str(lookup::SET, set);
            w.attr_be32(lookup::FROM, from.number());
        })
    }

    /// Goes on when a map has the value, with what it leads to.
    #[must_use]
    pub fn map(self, map: &str, from: Reg, to: Reg) -> Self {
        self.push("lookup", |w| {
            w.attr_str(lookup::SET, map);
            w.attr_be32(lookup::FROM, from.number());
            w.attr_be32(lookup::TO, to.number());
        })
    }

    /// Takes the decision that a map of verdicts has for the value.
    #[must_use]
    pub fn verdict_map(self, map: &str, from: Reg) -> Self {
        self.push("lookup", |w| {
            w.attr_str(lookup::SET, map);
            w.attr_be32(lookup::FROM, from.number());
            w.attr_be32(lookup::TO, VERDICT_REGISTER);
        })
    }

    /// Loads the type of the destination address: `RTN_LOCAL` (2) for one of the host. 4 bytes in the
    /// host's order.
    #[must_use]
    pub fn destination_type(self, to: Reg) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        self.push("fib", |w| {
            w.attr_be32(fib::TO, to.number());
            w.attr_be32(fib::RESULT, ADDRESS_TYPE);
            w.attr_be32(fib::FLAGS, DESTINATION);
        })
    }

    /// Sends the connection to the address and port of these registers.
    #[must_use]
    pub fn redirect_to(self, ipv4: bool, address: Reg, port: Reg) -> Self {
        const DNAT: u32 = 1;
        self.push("nat", |w| {
            w.attr_be32(nat::TYPE, DNAT);
            w.attr_be32(nat::FAMILY, if ipv4 { 2 } else { 10 });
            w.attr_be32(nat::ADDRESS, address.number());
            w.attr_be32(nat::PORT, port.number());
        })
    }

    /// Gives the connection the address of the interface it leaves by as its source.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.push("masq", |_| {})
    }

    /// Decides.
    #[must_use]
    pub fn verdict(self, verdict: &Verdict) -> Self {
        self.push("immediate", |w| {
            w.attr_be32(immediate::TO, VERDICT_REGISTER);
            w.nest(immediate::DATA, |w| w.nest(DATA_VERDICT, |w| verdict.write(w)));
        })
    }
}
