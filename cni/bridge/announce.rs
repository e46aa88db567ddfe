//! Who has to know where an address is now.
//!
//! What the kernel would tell everybody goes to each port of the bridge, and into each namespace behind it: with a thousand
//! pods that takes longer than all else of an attachment. So an interface has a hardware address that belongs to its IPv4
//! address. Whoever has heard of an earlier owner of the address knows the right one, and nobody has to be told. Of an owner
//! that had another one, as those of versions before, the host's table of neighbours tells, for as long as it remembers.

use super::conf::Bridge;
use super::host::{BridgeState, Container, Host, HostLink, addresses_of};
use crate::failure::system;
use crate::host_local;
use crate::types::{CniError, CniResult};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use sys::netlink::{Batch, Mac, OPER_UP, Socket, is_local, link_infos, neighbour_mac};
use sys::sync::lock;

const PORT_UP_TIMEOUT: Duration = Duration::from_secs(2);
const PORT_UP_POLL: Duration = Duration::from_micros(200);
/// So long a bridge is taken to lead where its ports were seen to lead.
const LEADS: Duration = Duration::from_secs(10);

/// The hardware address that an interface with these addresses has. Unless one is asked for (`conf.mac`) it is that of
/// its first IPv4 address, where this host alone gives those; else it stays the one with which it was made.
pub(super) fn mac(conf: &Bridge, result: &CniResult, made: Mac) -> Mac {
    match ipv4(result.ips.iter().map(|ip| ip.address.addr())) {
        Some(ip) if conf.mac.is_none() && conf.ipam == host_local::TYPE => Mac::of_ipv4(ip),
        _ => made,
    }
}

fn ipv4(ips: impl Iterator<Item = IpAddr>) -> Option<Ipv4Addr> {
    ips.into_iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

/// Waits until the port forwards and the bridge carries traffic, then has everyone know where the container's addresses
/// are now. A bridge that has just got its first port loses what the host sends until the kernel has taken notice,
/// which it does once a second when nobody asks.
pub(super) fn announce(
    host: &Host<'_>,
    Container { call, netns: inside }: Container<'_>,
    bridge: &BridgeState,
    link: &HostLink,
    ips: &[IpNet],
) -> Result<(), CniError> {
    let own = ipv4(ips.iter().map(IpNet::addr));
    let (port, known) = settle(&host.socket, bridge, link, (ips, own))?;
    let Some(own) = own else { return Ok(()) };
    let is_only = ips.iter().filter(|ip| ip.addr().is_ipv4()).count() == 1;
    let is_known = is_only && link.peer_mac == Mac::of_ipv4(own);
    let has_told = known.is_none_or(|known| known == link.peer_mac);
    if is_known && has_told && !leads_outward(host, bridge) {
        let mut batch = Batch::new();
        // Else the first packet to it would go to every port.
        if host.socket.run(batch.set_forwarding(port, link.peer_mac)).is_ok() {
            return Ok(());
        }
        // A port that the spanning tree has yet to open takes none.
    }
    // This makes the kernel send a gratuitous ARP.
    let mut batch = Batch::new();
    inside.rtnl().run(batch.set_mac(&call.ifname, link.peer, link.peer_mac)).map_err(system)?;
    Ok(())
}

/// Returns the index of the port that is up, and where the host took the address to be until now: a former owner of the
/// address may still be in its table.
fn settle(
    host: &Socket,
    bridge: &BridgeState,
    link: &HostLink,
    (ips, own): (&[IpNet], Option<Ipv4Addr>),
) -> Result<(u32, Option<Mac>), CniError> {
    let deadline = Instant::now() + PORT_UP_TIMEOUT;
    let ipv6 = ips.iter().any(|ip| ip.addr().is_ipv6());
    let mut before = None;
    loop {
        // Asking makes recent kernels take notice of the carrier at once: the port's first, the bridge's follows.
        let mut batch = Batch::new();
        batch.get_link(&link.name).get_link_index(bridge.index);
        if let Some(own) = own.filter(|_| before.is_none()) {
            batch.get_neighbour(bridge.index, own.into());
        }
        for ip in ips {
            batch.set_neighbour(bridge.index, ip.addr(), link.peer_mac);
        }
        let replies = host.run(&mut batch).map_err(system)?;
        let known = *before.get_or_insert_with(|| neighbour_mac(&replies));
        let replies = link_infos(&replies);
        let state = |index: Option<u32>| {
            let found = replies.iter().find(|found| Some(found.index) == index);
            found.map_or(0, |found| found.operstate)
        };
        let port = replies.iter().find(|found| found.index != bridge.index).map(|found| found.index);
        let (state, bridge_state) = (state(port), state(Some(bridge.index)));
        if let Some(port) = port.filter(|_| state == OPER_UP && bridge_state == OPER_UP)
            && (!ipv6 || settled(host, bridge.index)?)
        {
            return Ok((port, known));
        }
        if Instant::now() > deadline {
            let message =
                format!("bridge port {} does not come up: states {state}, {bridge_state}", link.name);
            return Err(CniError::new(CniError::INTERNAL, message));
        }
        std::thread::sleep(PORT_UP_POLL);
    }
}

/// Whether some port of the bridge is no namespace's: others may be behind it that learn by what they hear. One that was seen
/// is taken to stay. To look takes longer the more ports there are: while one does, the others go by what was seen before.
fn leads_outward(host: &Host<'_>, bridge: &BridgeState) -> bool {
    let key = (host.socket.netns_cookie(), bridge.index);
    let mut outward = lock(&host.bridges.outward);
    if let Some((seen, leads)) = outward.get_mut(&key) {
        if *leads || seen.elapsed() < LEADS {
            return *leads;
        }
        *seen = Instant::now();
    }
    drop(outward);
    let Ok(replies) = host.socket.run(Batch::new().get_ports(bridge.index)) else {
        lock(&host.bridges.outward).remove(&key);
        return true;
    };
    let ports = link_infos(&replies);
    let leads = ports.iter().any(|port| port.master == Some(bridge.index) && port.kind != "veth");
    lock(&host.bridges.outward).insert(key, (Instant::now(), leads));
    leads
}

/// Whether packets to the bridge's IPv6 addresses end at the host. The kernel makes their routes on its own time after
/// the addresses, and who connects before that waits for a neighbour that does not exist.
fn settled(host: &Socket, bridge: u32) -> Result<bool, CniError> {
    for found in addresses_of(host, bridge).map_err(system)? {
        let ip = found.address.ip;
        let counts = matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local()) && !found.duplicate;
        // Without any route the question itself fails.
        if counts && !host.run(Batch::new().get_route_to(ip)).is_ok_and(|replies| is_local(&replies)) {
            return Ok(false);
        }
    }
    Ok(true)
}
