//! The check of hardware addresses: a container can send only with its own.

use super::{Entries, Filter, Table};
use crate::types::CniError;
use sys::netlink::Mac;
use sys::nft::{
    Element, Expressions, Family, Header, Hook, KeyBytes, Meta, Reg, SetData, Transaction, Type, Verdict,
};

pub(super) const TABLE: Table = Table {
    family: Family::Bridge,
    name: "corten_macspoofchk",
    sets: &["own_address", "checked"],
    queue: None,
    build,
};

fn build(tx: &mut Transaction<'_>) {
    const SOURCE_ADDRESS: u32 = 6;
    tx.add_table();
    tx.add_set("own_address", &[Type::Interface, Type::Mac], SetData::Nothing);
    tx.add_set("checked", &[Type::Interface], SetData::Nothing);
    tx.add_chain("prerouting", Some(Hook::FilterPrerouting));
    tx.flush_chain("prerouting");
    let own = Expressions::new()
        .meta(Meta::InputName, Reg(0))
        .payload(Header::Link, SOURCE_ADDRESS, 6, Reg(4))
        .in_set("own_address", Reg(0))
        .verdict(&Verdict::Accept);
    tx.add_rule("prerouting", &own);
    let other =
        Expressions::new().meta(Meta::InputName, Reg(0)).in_set("checked", Reg(0)).verdict(&Verdict::Drop);
    tx.add_rule("prerouting", &other);
}

fn entries(port: &str, mac: Mac, tag: &str) -> Entries {
    let element = |key| Element { key, data: None, comment: tag.to_owned() };
    vec![
        ("own_address", element(KeyBytes::new().interface(port).bytes(&mac.0).build())),
        ("checked", element(KeyBytes::new().interface(port).build())),
    ]
}

/// Drops what comes by a bridge port with another source than this.
pub(crate) fn add(filter: &Filter, port: &str, mac: Mac, tag: &str) -> Result<(), CniError> {
    TABLE.insert(filter, &[], &entries(port, mac, tag))
}

/// A bridge port whose source is checked.
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) tag: String,
}

/// Makes what is missing of this for several ports. Whether anything was.
pub(crate) fn heal(filter: &Filter, ports: &[Port]) -> Result<bool, CniError> {
    let entries = ports.iter().flat_map(|port| entries(&port.name, port.mac, &port.tag)).collect();
    TABLE.heal(filter, &[], &entries)
}

/// Removes what has a tag that satisfies the condition.
pub(crate) fn remove(filter: &Filter, condition: impl Fn(&str) -> bool) -> Result<(), CniError> {
    TABLE.remove(filter, condition)
}
