//! Masquerading: what an attachment's address sends out of its subnet leaves with the host's address.
//!
//! The table maps source addresses to chains, one a subnet, that masquerade what goes elsewhere. Multicast
//! is left alone, as the standard plugins leave it.

use super::{Chain, Entries, Filter, Table};
use crate::types::CniError;
use ipnet::IpNet;
use std::net::IpAddr;
use sys::netlink::ip_bytes;
use sys::nft::{
    Data, Element, Expressions, Family, Header, Hook, KeyBytes, Meta, Reg, SetData, Transaction, Type,
    Verdict,
};

pub(super) const TABLE: Table = Table {
    family: Family::Inet,
    name: "corten_masquerade",
    sets: &["source4", "source6"],
    queue: None,
    build,
};

/// The names of the chains of subnets begin so.
const CHAINS: &str = "outside_";

const IPV4: &[u8] = &[2];
const IPV6: &[u8] = &[10];

/// Where the addresses of a packet are in its header.
pub(crate) struct Layout {
    pub(crate) family: &'static [u8],
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) len: u32,
}

/// The layout of a family's header.
pub(crate) fn layout(ipv4: bool) -> Layout {
    if ipv4 {
        Layout { family: IPV4, source: 12, destination: 16, len: 4 }
    } else {
        Layout { family: IPV6, source: 8, destination: 24, len: 16 }
    }
}

fn build(tx: &mut Transaction<'_>) {
    tx.add_table();
    tx.add_set("source4", &[Type::Ipv4], SetData::Verdicts);
    tx.add_set("source6", &[Type::Ipv6], SetData::Verdicts);
    tx.add_chain("postrouting", Some(Hook::NatPostrouting));
    tx.flush_chain("postrouting");
    for (ipv4, set, mask, multicast) in [(true, "source4", 0xf0, 0xe0), (false, "source6", 0xff, 0xff)] {
        let at = layout(ipv4);
        let of_family = || Expressions::new().meta(Meta::Family, Reg(0)).equals(Reg(0), at.family);
        let to_many = of_family()
            .payload(Header::Network, at.destination, 1, Reg(0))
            .mask(Reg(0), &[mask])
            .equals(Reg(0), &[multicast])
            .verdict(&Verdict::Return);
        tx.add_rule("postrouting", &to_many);
        let from_known =
            of_family().payload(Header::Network, at.source, at.len, Reg(0)).verdict_map(set, Reg(0));
        tx.add_rule("postrouting", &from_known);
    }
}

fn chain_name(subnet: IpNet) -> String {
    // Colons are no part of names in nft's language.
    format!("{CHAINS}{subnet}").replace(':', "_")
}

fn build_chain(tx: &mut Transaction<'_>, name: &str, subnet: IpNet) {
    let at = layout(subnet.addr().is_ipv4());
    let elsewhere = Expressions::new()
        .payload(Header::Network, at.destination, at.len, Reg(0))
        .mask(Reg(0), &ip_bytes(subnet.netmask()))
        .differs(Reg(0), &ip_bytes(subnet.network()))
        .masquerade();
    tx.add_chain(name, None);
    tx.flush_chain(name);
    tx.add_rule(name, &elsewhere);
}

fn entries(addresses: &[IpNet], tag: &str) -> Entries {
    let entry = |address: &IpNet| {
        let set = if matches!(address.addr(), IpAddr::V4(_)) { "source4" } else { "source6" };
        let data = Some(Data::Goto(chain_name(address.trunc())));
        let key = KeyBytes::new().ip(address.addr()).build();
        (set, Element { key, data, comment: tag.to_owned() })
    };
    addresses.iter().map(entry).collect()
}

/// Masquerades what these addresses send out of their subnets.
pub(crate) fn add(filter: &Filter, addresses: &[IpNet], tag: &str) -> Result<(), CniError> {
    with_chains(addresses, |chains| TABLE.insert(filter, chains, &entries(addresses, tag)))
}

/// Makes what is missing of this for several attachments: addresses and tag. Whether anything was.
pub(crate) fn heal(filter: &Filter, attachments: &[(Vec<IpNet>, String)]) -> Result<bool, CniError> {
    let mut all: Vec<IpNet> =
        attachments.iter().flat_map(|(addresses, _)| addresses).map(IpNet::trunc).collect();
    all.sort();
    all.dedup();
    let entries = attachments.iter().flat_map(|(addresses, tag)| entries(addresses, tag)).collect();
    with_chains(&all, |chains| TABLE.heal(filter, chains, &entries))
}

/// Does something with the chains of the subnets of some addresses.
fn with_chains<T>(addresses: &[IpNet], work: impl FnOnce(&[Chain<'_>]) -> T) -> T {
    let builders: Vec<_> = addresses
        .iter()
        .map(|address| {
            let subnet = address.trunc();
            (chain_name(subnet), move |tx: &mut Transaction<'_>, name: &str| build_chain(tx, name, subnet))
        })
        .collect();
    let chains: Vec<_> = builders.iter().map(|(name, build)| Chain { name: name.clone(), build }).collect();
    work(&chains)
}

/// Verifies that these addresses are masqueraded.
pub(crate) fn check(filter: &Filter, addresses: &[IpNet], tag: &str) -> Result<(), CniError> {
    TABLE.check(filter, &entries(addresses, tag))
}

/// Ends it for the attachment with this tag, which is expected to have these addresses.
pub(crate) fn release(filter: &Filter, addresses: &[IpNet], tag: &str) -> Result<(), CniError> {
    TABLE.release(filter, &entries(addresses, tag), tag)
}

/// Removes what has a tag that satisfies the condition.
pub(crate) fn remove(filter: &Filter, condition: impl Fn(&str) -> bool) -> Result<(), CniError> {
    TABLE.remove(filter, condition)
}

/// Removes what is left of subnets that no attachment has any more.
pub(crate) fn prune(filter: &Filter) -> Result<(), CniError> {
    TABLE.prune(filter, CHAINS)
}
