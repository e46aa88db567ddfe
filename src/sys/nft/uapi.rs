//! The attributes of linux/netfilter/nf_tables.h that are used here, a module for each thing that has some.

/// Of a table.
pub(super) mod table {
    pub(crate) const NAME: u16 = 1;
}

/// Of a chain.
pub(super) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const TYPE: u16 = 7;
}

/// Of a chain's hook.
pub(super) mod hook {
    pub(crate) const NUMBER: u16 = 1;
    pub(crate) const PRIORITY: u16 = 2;
}

/// Of a rule.
pub(super) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const EXPRESSIONS: u16 = 4;
}

/// Of a set or map.
pub(super) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const ID: u16 = 10;
}

/// Of the state of all tables.
pub(super) mod generation {
    pub(crate) const ID: u16 = 1;
}

/// Of the expression that loads what a packet carries beside its bytes.
pub(super) mod meta {
    pub(crate) const TO: u16 = 1;
    pub(crate) const KEY: u16 = 2;
}

/// Of the one that loads bytes of a packet.
pub(super) mod payload {
    pub(crate) const TO: u16 = 1;
    pub(crate) const BASE: u16 = 2;
    pub(crate) const OFFSET: u16 = 3;
    pub(crate) const LEN: u16 = 4;
}

/// Of a comparison.
pub(super) mod compare {
    pub(crate) const FROM: u16 = 1;
    pub(crate) const OP: u16 = 2;
    pub(crate) const VALUE: u16 = 3;
}

/// Of a mask.
pub(super) mod bitwise {
    pub(crate) const FROM: u16 = 1;
    pub(crate) const TO: u16 = 2;
    pub(crate) const LEN: u16 = 3;
    pub(crate) const MASK: u16 = 4;
    pub(crate) const XOR: u16 = 5;
}

/// Of a look into a set or map.
pub(super) mod lookup {
    pub(crate) const SET: u16 = 1;
    pub(crate) const FROM: u16 = 2;
    pub(crate) const TO: u16 = 3;
}

/// Of a question to the routing table.
pub(super) mod fib {
    pub(crate) const TO: u16 = 1;
    pub(crate) const RESULT: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
}

/// Of address translation.
pub(super) mod nat {
    pub(crate) const TYPE: u16 = 1;
    pub(crate) const FAMILY: u16 = 2;
    pub(crate) const ADDRESS: u16 = 3;
    pub(crate) const PORT: u16 = 5;
}

/// Of a value or verdict.
pub(super) mod immediate {
    pub(crate) const TO: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}
