//! What keeps a bridge from being this network's: another owner, another address, the same addresses on another bridge.

use super::conf::Bridge;
use super::container::address;
use super::host::ENODEV;
use super::ready::READY;
use crate::failure::{config, system};
use crate::types::CniError;
use ipnet::IpNet;
use sys::netlink::{Address, AddressInfo, Batch, LinkInfo, Socket, addresses, link_info, link_infos};

/// Owners that are daemons begin so; other aliases are none.
const DAEMON: &str = "corten:";
/// The kinds of ports that containers and virtual machines have; other ports lead out of the host.
const INNER_PORTS: &[&str] = &["veth", "tun"];

/// Whether nobody else says that the bridge is his.
pub(super) fn is_owner(conf: &Bridge, alias: &str) -> bool {
    conf.owner.is_empty() || alias == conf.owner || !alias.starts_with(DAEMON)
}

/// Verifies that a bridge of that name, where there is one, is free for gateways of which it will have some, and that no
/// other bridge has their subnets.
pub(super) fn free_for(host: &Socket, conf: &Bridge, gateways: &[IpNet]) -> Result<(), CniError> {
    let mut batch = Batch::new();
    let found = host.run(batch.get_link(&conf.name).tolerate(ENODEV)).map_err(system)?;
    let index = match link_info(&found) {
        None => None,
        Some(link) if link.kind != "bridge" => {
            return Err(config(format!("{:?} exists and is not a bridge", conf.name)));
        }
        Some(link) if !is_owner(conf, &link.alias) => {
            return Err(of_another_daemon(host, conf, (link.index, &link.alias)));
        }
        Some(link) => Some(link.index),
    };
    let all = all_addresses(host)?;
    if let Some(index) = index.filter(|_| !conf.force_address)
        && let Some((other, gateway)) = in_the_way(&all, index, gateways).first()
    {
        return Err(another_address(host, conf, index, (*other, *gateway)));
    }
    alone(host, index, gateways, &all)
}

/// Removes or refuses addresses of the bridge that exclude a gateway's, and refuses subnets that another bridge has.
pub(super) fn clear_the_way(
    host: &Socket,
    conf: &Bridge,
    index: u32,
    gateways: &[IpNet],
) -> Result<(), CniError> {
    let all = all_addresses(host)?;
    alone(host, Some(index), gateways, &all)?;
    for (other, gateway) in in_the_way(&all, index, gateways) {
        if !conf.force_address {
            return Err(another_address(host, conf, index, (other, gateway)));
        }
        let mut batch = Batch::new();
        host.run(batch.delete_address(&conf.name, index, other)).map_err(system)?;
    }
    Ok(())
}

fn all_addresses(host: &Socket) -> Result<Vec<AddressInfo>, CniError> {
    let mut batch = Batch::new();
    Ok(addresses(&host.run(batch.get_addresses()).map_err(system)?))
}

/// The bridge's addresses that exclude a gateway's: another IPv4 address, or an IPv6 address of an overlapping network.
fn in_the_way(all: &[AddressInfo], index: u32, gateways: &[IpNet]) -> Vec<(Address, IpNet)> {
    let wanted: Vec<Address> = gateways.iter().map(|gateway| address(*gateway)).collect();
    let own = all.iter().filter(|found| found.index == index).map(|found| found.address);
    own.filter(|other| !wanted.contains(other))
        .filter_map(|other| {
            let gateway = gateways.iter().find(|gateway| excludes(other, **gateway))?;
            Some((other, *gateway))
        })
        .collect()
}

fn excludes(other: Address, gateway: IpNet) -> bool {
    match IpNet::new(other.ip, other.prefix) {
        Ok(other) if other.addr().is_ipv4() != gateway.addr().is_ipv4() => false,
        Ok(other) => {
            gateway.addr().is_ipv4() || other.contains(&gateway.addr()) || gateway.contains(&other.addr())
        }
        Err(_) => false,
    }
}

/// Verifies that no other bridge has these subnets: two networks would give the same address to two containers, and
/// the host would reach one of them. A bridge that leads out of the host may have a larger network around them.
fn alone(host: &Socket, own: Option<u32>, gateways: &[IpNet], all: &[AddressInfo]) -> Result<(), CniError> {
    let overlapping: Vec<_> = all
        .iter()
        .filter(|found| Some(found.index) != own)
        .filter_map(|found| {
            let other = IpNet::new(found.address.ip, found.address.prefix).ok()?;
            let gateway = gateways.iter().find(|gateway| overlap(**gateway, other))?;
            Some((found.index, other, gateway.trunc()))
        })
        .collect();
    if overlapping.is_empty() {
        return Ok(());
    }
    let links = all_links(host)?;
    for (index, other, subnet) in overlapping {
        let Some(link) = links.iter().find(|link| link.index == index && link.kind == "bridge") else {
            continue;
        };
        let leads_out = ports(&links, index).any(|port| !INNER_PORTS.contains(&port.kind.as_str()));
        if other.trunc() == subnet || !leads_out {
            let remove = removal(&links, index, &link.name);
            return Err(config(format!(
                "subnet {subnet} overlaps {other} of bridge {}: two pods would get the same address. Give this network \
                 another subnet by a configuration in network.conf_dir, or {remove}",
                link.name
            )));
        }
    }
    Ok(())
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn all_links(host: &Socket) -> Result<Vec<LinkInfo>, CniError> {
    let mut batch = Batch::new();
    Ok(link_infos(&host.run(batch.get_links()).map_err(system)?))
}

fn ports(links: &[LinkInfo], bridge: u32) -> impl Iterator<Item = &LinkInfo> {
    links.iter().filter(move |link| link.master == Some(bridge))
}

/// How somebody can remove a bridge, and whom that would cut off.
fn removal(links: &[LinkInfo], index: u32, name: &str) -> String {
    match ports(links, index).filter(|port| port.alias != READY).count() {
        0 => format!("remove bridge {name}, which nobody is on: ip link del {name}"),
        count => format!(
            "remove bridge {name} once the pods on it are gone (now {count}, which it would cut off): ip link del {name}"
        ),
    }
}

/// The error about a bridge that another daemon uses.
pub(super) fn of_another_daemon(host: &Socket, conf: &Bridge, (index, alias): (u32, &str)) -> CniError {
    clash(host, conf, index, &format!("belongs to another daemon ({alias})"))
}

fn another_address(host: &Socket, conf: &Bridge, index: u32, (other, gateway): (Address, IpNet)) -> CniError {
    let what = format!(
        "has the address {}/{} in the way of {gateway}: this network had another subnet, or another network has the \
         bridge",
        other.ip, other.prefix
    );
    clash(host, conf, index, &what)
}

fn clash(host: &Socket, conf: &Bridge, index: u32, what: &str) -> CniError {
    match all_links(host) {
        Err(error) => error,
        Ok(links) => config(format!(
            "bridge {} {what}. Give this network another bridge by a configuration in network.conf_dir, or {}",
            conf.name,
            removal(&links, index, &conf.name)
        )),
    }
}
