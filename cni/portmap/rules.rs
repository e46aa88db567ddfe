//! The table of host ports.
//!
//! What is sent to an address of the host is looked up by address, protocol and port, then by protocol and
//! port, and goes to the container's address and port that are found. On the way out, connections that a
//! container makes to itself by a host port, and those from 127.0.0.0/8, get the host's address as their
//! source: the answers would not come back otherwise.
//!
//! For the latter an interface must be allowed to route 127.0.0.0/8, by which the kernel would let its neighbours in,
//! too. So whatever comes from outside with such an address is dropped before anything else looks at it.

use super::conf::PortMap;
use super::waiting;
use crate::failure::config;
use crate::firewall::masquerade::layout;
use crate::firewall::{Entries, Table};
use crate::types::CniError;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use sys::nft::{
    Data, Element, Expressions, Family, Header, Hook, KeyBytes, Meta, Reg, SetData, Transaction, Type,
    Verdict,
};

pub(crate) const TABLE: Table = Table {
    family: Family::Inet,
    name: "corten_hostport",
    sets: &[
        "address_port4",
        "address_port6",
        "port4",
        "port6",
        "from_loopback4",
        "hairpin4",
        "hairpin6",
        "from_all4",
        "from_all6",
        waiting::SET,
    ],
    queue: Some(&waiting::QUEUE),
    build,
};

/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// How the addresses of the host itself begin.
const LOOPBACK: u8 = 127;

fn build(tx: &mut Transaction<'_>) {
    use Type::{Ipv4, Ipv6, Port, Transport};
    tx.add_table();
    tx.add_set("address_port4", &[Ipv4, Transport, Port], SetData::Values(&[Ipv4, Port]));
    tx.add_set("address_port6", &[Ipv6, Transport, Port], SetData::Values(&[Ipv6, Port]));
    tx.add_set("port4", &[Transport, Port], SetData::Values(&[Ipv4, Port]));
    tx.add_set("port6", &[Transport, Port], SetData::Values(&[Ipv6, Port]));
    tx.add_set("from_loopback4", &[Ipv4], SetData::Nothing);
    tx.add_set("hairpin4", &[Ipv4, Ipv4], SetData::Nothing);
    tx.add_set("hairpin6", &[Ipv6, Ipv6], SetData::Nothing);
    tx.add_set("from_all4", &[Ipv4], SetData::Nothing);
    tx.add_set("from_all6", &[Ipv6], SetData::Nothing);
    tx.add_set(waiting::SET, &[Ipv6, Transport, Port, Ipv6, Port], SetData::Values(&[Type::Number]));
    tx.add_chain("ports", None);
    tx.flush_chain("ports");
    for (ipv4, by_address, by_port) in [(true, "address_port4", "port4"), (false, "address_port6", "port6")] {
        redirect(tx, ipv4, by_address, by_port);
    }
    for (chain, hook) in [("prerouting", Hook::NatPrerouting), ("output", Hook::NatOutput)] {
        tx.add_chain(chain, Some(hook));
        tx.flush_chain(chain);
        let to_host = Expressions::new()
            .destination_type(Reg(0))
            .equals(Reg(0), &LOCAL.to_ne_bytes())
            .verdict(&Verdict::Jump("ports".to_owned()));
        tx.add_rule(chain, &to_host);
    }
    tx.add_chain("postrouting", Some(Hook::NatPostrouting));
    tx.flush_chain("postrouting");
    masquerade(tx);
    tx.add_chain("loopback", Some(Hook::FilterPrerouting));
    tx.flush_chain("loopback");
    keep_loopback_inside(tx);
}

/// Nothing from another interface than `lo` has an address of 127.0.0.0/8. Answers to connections that were masqueraded
/// have the host's address until later hooks give them back the one they go to.
fn keep_loopback_inside(tx: &mut Transaction<'_>) {
    let at = layout(true);
    for address in [at.source, at.destination] {
        let foreign = of_family(true)
            .payload(Header::Network, address, 1, Reg(0))
            .equals(Reg(0), &[LOOPBACK])
            .meta(Meta::InputName, Reg(0))
            .differs(Reg(0), &KeyBytes::new().interface("lo").build())
            .verdict(&Verdict::Drop);
        tx.add_rule("loopback", &foreign);
    }
}

fn of_family(ipv4: bool) -> Expressions {
    Expressions::new().meta(Meta::Family, Reg(0)).equals(Reg(0), layout(ipv4).family)
}

fn redirect(tx: &mut Transaction<'_>, ipv4: bool, by_address: &str, by_port: &str) {
    const DESTINATION_PORT: u32 = 2;
    let at = layout(ipv4);
    // The registers that an address of this family takes.
    let words = if ipv4 { 1 } else { 4 };
    let specific = of_family(ipv4)
        .payload(Header::Network, at.destination, at.len, Reg(0))
        .meta(Meta::Transport, Reg(words))
        .payload(Header::Transport, DESTINATION_PORT, 2, Reg(words + 1))
        .map(by_address, Reg(0), Reg(0))
        .redirect_to(ipv4, Reg(0), Reg(words));
    tx.add_rule("ports", &specific);
    let any = of_family(ipv4)
        .meta(Meta::Transport, Reg(0))
        .payload(Header::Transport, DESTINATION_PORT, 2, Reg(1))
        .map(by_port, Reg(0), Reg(0))
        .redirect_to(ipv4, Reg(0), Reg(words));
    tx.add_rule("ports", &any);
}

fn masquerade(tx: &mut Transaction<'_>) {
    let at = layout(true);
    let from_loopback = of_family(true)
        .payload(Header::Network, at.source, 1, Reg(0))
        .equals(Reg(0), &[LOOPBACK])
        .payload(Header::Network, at.destination, at.len, Reg(0))
        .in_set("from_loopback4", Reg(0))
        .masquerade();
    tx.add_rule("postrouting", &from_loopback);
    for (ipv4, hairpin, all) in [(true, "hairpin4", "from_all4"), (false, "hairpin6", "from_all6")] {
        let at = layout(ipv4);
        // Source and destination follow one another in the header.
        let to_itself = of_family(ipv4)
            .payload(Header::Network, at.source, 2 * at.len, Reg(0))
            .in_set(hairpin, Reg(0))
            .masquerade();
        tx.add_rule("postrouting", &to_itself);
        let to_any = of_family(ipv4)
            .payload(Header::Network, at.destination, at.len, Reg(0))
            .in_set(all, Reg(0))
            .masquerade();
        tx.add_rule("postrouting", &to_any);
    }
}

/// The elements of an attachment with these addresses, each once; a host port that leads to two ports is an error.
pub(super) fn entries(conf: &PortMap, addresses: &[IpAddr], tag: &str) -> Result<Entries, CniError> {
    let mut entries = Entries::new();
    let mut places = HashMap::new();
    let element = |key, data| Element { key, data, comment: tag.to_owned() };
    for address in addresses {
        let ipv4 = address.is_ipv4();
        let set = |four, six| if ipv4 { four } else { six };
        let mut mapped = false;
        for mapping in &conf.mappings {
            if mapping.host_ip.is_some_and(|host| host.is_ipv4() != ipv4) {
                continue;
            }
            mapped = true;
            let data = Data::Value(KeyBytes::new().ip(*address).port(mapping.container_port).build());
            let port =
                |key: KeyBytes| key.transport(mapping.protocol.number()).port(mapping.host_port).build();
            let (name, key) = match mapping.host_ip.filter(|host| !host.is_unspecified()) {
                Some(host) => (set("address_port4", "address_port6"), port(KeyBytes::new().ip(host))),
                None => (set("port4", "port6"), port(KeyBytes::new())),
            };
            let element = element(key, Some(data));
            match places.entry((name, element.key.clone())) {
                Entry::Vacant(place) => {
                    place.insert(entries.len());
                    entries.push((name, element));
                }
                Entry::Occupied(place) if entries[*place.get()].1 == element => {}
                Entry::Occupied(_) => {
                    let port = mapping.host_port;
                    return Err(config(format!("portmap: hostPort {port} leads to two container ports")));
                }
            }
        }
        if !conf.snat || !mapped {
            continue;
        }
        let key = KeyBytes::new().ip(*address);
        if conf.masq_all {
            entries.push((set("from_all4", "from_all6"), element(key.build(), None)));
            continue;
        }
        let pair = key.clone().ip(*address).build();
        entries.push((set("hairpin4", "hairpin6"), element(pair, None)));
        if ipv4 {
            entries.push(("from_loopback4", element(key.build(), None)));
        }
    }
    Ok(entries)
}
