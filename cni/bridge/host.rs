//! The host's end: the bridge, and the veth that is its port.

use super::clash;
use super::conf::Bridge;
use super::container::address;
use super::random_mac;
use crate::failure::{config, file, system};
use crate::tag::fnv1a;
use crate::types::{CniError, Invocation};
use ipnet::IpNet;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use sys::SysResult;
use sys::netlink::{
    AddressInfo, Batch, BridgeLink, LinkInfo, Mac, Peer, PortFlags, Socket, VethPair, addresses, link_info,
};
use sys::netns::Netns;
use sys::sync::lock;

const EEXIST: i32 = 17;
/// A bridge has no room for another port (`BR_MAX_PORTS` of the kernel).
const EXFULL: i32 = 54;
/// No such interface.
pub(super) const ENODEV: i32 = 19;
/// So long a host that was seen to forward is taken to do so.
const FORWARDS: Duration = Duration::from_secs(1);

/// A bridge that is known to be one and up.
#[derive(Debug, Clone)]
pub(super) struct BridgeState {
    pub(super) index: u32,
    pub(super) mac: Mac,
    promiscuous: bool,
    owner: String,
    /// The addresses that it was seen to have, none of them in the way of another.
    gateways: Vec<IpNet>,
    cached: bool,
}

/// Bridges by network namespace and name. An entry is only a guess: the kernel refuses an index that no longer
/// is, and then the bridge is looked up (and made) again.
#[derive(Debug, Default)]
pub(crate) struct Bridges {
    known: Mutex<HashMap<(u64, String), BridgeState>>,
    /// When hosts were last seen to forward, by network namespace and family.
    forwarding: Mutex<HashMap<(u64, bool), Instant>>,
    /// Whether bridges had a port that leads elsewhere than into a namespace, by network namespace and index, and when.
    pub(super) outward: Mutex<HashMap<(u64, u32), (Instant, bool)>>,
}

/// The host: a socket in its network namespace, and what is known of its bridges.
pub(super) struct Host<'a> {
    pub(super) socket: Socket,
    pub(super) bridges: &'a Bridges,
}

impl Host<'_> {
    pub(super) fn known(&self, conf: &Bridge) -> Option<BridgeState> {
        let bridges = lock(&self.bridges.known);
        let known = bridges.get(&self.key(conf))?;
        let is_same = known.promiscuous == conf.promiscuous && known.owner == conf.owner;
        is_same.then(|| BridgeState { cached: true, ..known.clone() })
    }

    fn remember(&self, conf: &Bridge, state: &BridgeState) {
        lock(&self.bridges.known).insert(self.key(conf), state.clone());
    }

    fn forget(&self, conf: &Bridge) {
        lock(&self.bridges.known).remove(&self.key(conf));
    }

    fn key(&self, conf: &Bridge) -> (u64, String) {
        (self.socket.netns_cookie(), conf.name.clone())
    }
}

/// The host's end of a pair, and index and hardware address of the other end in its namespace.
#[derive(Debug, Clone)]
pub(super) struct HostLink {
    pub(super) name: String,
    pub(super) mac: Mac,
    pub(super) peer: u32,
    pub(super) peer_mac: Mac,
}

/// Who is attached: what is asked for it, and its namespace.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) call: &'a Invocation,
    pub(super) netns: &'a Netns,
}

/// The name of the host's end: made from the attachment, so that DEL finds it without the namespace.
pub(super) fn veth_name(call: &Invocation) -> String {
    let text = format!("{} {} {}", call.container_id, call.ifname, call.conf.network());
    format!("veth{:011x}", fnv1a(text.as_bytes()) & 0xfff_ffff_ffff)
}

/// Makes the pair, one end at the bridge, the other in the container's namespace.
pub(super) fn attach(
    host: &Host<'_>,
    conf: &Bridge,
    container: Container<'_>,
    mac: Mac,
) -> Result<(BridgeState, HostLink), CniError> {
    let bridge = bridge(host, conf)?;
    let link_mac = random_mac()?;
    match create(&host.socket, conf, container, &bridge, (link_mac, mac)) {
        Ok(link) => Ok((bridge, link)),
        Err(_) if bridge.cached => {
            host.forget(conf);
            let bridge = self::bridge(host, conf)?;
            let link = create(&host.socket, conf, container, &bridge, (link_mac, mac))?;
            Ok((bridge, link))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn create(
    host: &Socket,
    conf: &Bridge,
    Container { call, netns: inside }: Container<'_>,
    bridge: &BridgeState,
    (mac, peer_mac): (Mac, Mac),
) -> Result<HostLink, CniError> {
    let name = veth_name(call);
    let mut batch = Batch::new();
    batch.create_veth(&VethPair {
        name: &name,
        mac,
        bridge: Some(bridge.index),
        mtu: conf.mtu,
        peer: Peer { name: &call.ifname, mac: peer_mac, netns: inside.fd() },
    });
    let port = PortFlags { hairpin: conf.hairpin, isolated: conf.port_isolation };
    if port != PortFlags::default() {
        batch.set_port(&name, port);
    }
    // A bridge port needs no address; each would cost the host a search for duplicates, timers and routes.
    batch.no_link_local(&name).set_up_by_name(&name);
    match host.run(&mut batch) {
        Err(error) if error.errno == EEXIST => {
            let message = format!("{} of container {} is attached already", call.ifname, call.container_id);
            return Err(config(message));
        }
        Err(error) if error.errno == EXFULL => {
            remove(host, &name);
            let message = format!(
                "bridge {} is full: the kernel lets no more than 1023 interfaces be on one",
                conf.name
            );
            return Err(CniError::new(CniError::TRY_AGAIN_LATER, message));
        }
        Err(error) if error.op != "create veth" => {
            remove(host, &name);
            return Err(system(error));
        }
        result => result.map_err(system)?,
    };
    // The other end is asked for inside: the host's end, not yet settled, answers 100 µs later.
    let mut batch = Batch::new();
    let found = inside.rtnl().run(batch.get_link(&call.ifname)).map_err(system);
    match found.map(|replies| link_info(&replies)) {
        Ok(Some(peer)) => Ok(HostLink { name, mac, peer: peer.index, peer_mac }),
        Ok(None) => {
            remove(host, &name);
            Err(CniError::new(CniError::INTERNAL, format!("interface {} is missing", call.ifname)))
        }
        Err(error) => {
            remove(host, &name);
            Err(error)
        }
    }
}

pub(super) fn remove(host: &Socket, name: &str) {
    let mut batch = Batch::new();
    // The pair goes with the namespace in any case.
    let _ = host.run(batch.delete_link(name));
}

/// The bridge, made when it is not there.
fn bridge(host: &Host<'_>, conf: &Bridge) -> Result<BridgeState, CniError> {
    if let Some(known) = host.known(conf) {
        return Ok(known);
    }
    let mut batch = Batch::new();
    batch.create_bridge(&BridgeLink {
        name: &conf.name,
        mac: random_mac()?,
        mtu: conf.mtu,
        promiscuous: conf.promiscuous,
    });
    batch.get_link(&conf.name);
    let replies = host.socket.run(&mut batch).map_err(system)?;
    let found = link_info(&replies).filter(|link| link.kind == "bridge");
    let Some(LinkInfo { index, mac: Some(mac), up, promiscuity, alias, .. }) = found else {
        return Err(config(format!("{:?} exists and is not a bridge", conf.name)));
    };
    let mut batch = Batch::new();
    if !conf.owner.is_empty() && alias.is_empty() {
        batch.set_alias(&conf.name, index, &conf.owner);
    } else if !clash::is_owner(conf, &alias) {
        return Err(clash::of_another_daemon(&host.socket, conf, (index, &alias)));
    }
    if !up {
        batch.set_up(&conf.name, index, true);
    }
    if conf.promiscuous && promiscuity == 0 {
        batch.set_promiscuous(&conf.name, index);
    }
    host.socket.run(&mut batch).map_err(system)?;
    // The host's routes are its own, whatever a container advertises. Without IPv6 there is no such file.
    let accept = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", conf.name);
    let _ = std::fs::write(accept, "0");
    let state = BridgeState {
        index,
        mac,
        promiscuous: conf.promiscuous,
        owner: conf.owner.clone(),
        gateways: Vec::new(),
        cached: false,
    };
    host.remember(conf, &state);
    Ok(state)
}

/// Gives the bridge the gateways' addresses, and lets the host forward.
pub(super) fn become_gateway(
    host: &Host<'_>,
    conf: &Bridge,
    bridge: &BridgeState,
    gateways: &[IpNet],
) -> Result<(), CniError> {
    if gateways.iter().any(|gateway| !bridge.gateways.contains(gateway)) {
        clash::clear_the_way(&host.socket, conf, bridge.index, gateways)?;
        let mut state = bridge.clone();
        state.gateways = gateways.to_vec();
        host.remember(conf, &state);
    }
    // Repeated each time: it heals a bridge that has lost an address, and costs 3 µs.
    let mut batch = Batch::new();
    for gateway in gateways {
        batch.add_address(&conf.name, bridge.index, address(*gateway), false);
    }
    host.socket.run(&mut batch).map_err(system)?;
    for ipv4 in [true, false] {
        if gateways.iter().any(|gateway| gateway.addr().is_ipv4() == ipv4) {
            forward(host, ipv4)?;
        }
    }
    Ok(())
}

/// Lets the host forward. It is looked at once a second at most: the kernel finds the file, by its path, among those of all
/// network namespaces.
fn forward(host: &Host<'_>, ipv4: bool) -> Result<(), CniError> {
    let key = (host.socket.netns_cookie(), ipv4);
    if lock(&host.bridges.forwarding).get(&key).is_some_and(|seen| seen.elapsed() < FORWARDS) {
        return Ok(());
    }
    let path = PathBuf::from(match ipv4 {
        true => "/proc/sys/net/ipv4/ip_forward",
        false => "/proc/sys/net/ipv6/conf/all/forwarding",
    });
    let is_on = std::fs::read(&path).map_err(file("read", &path))?.first() == Some(&b'1');
    if !is_on {
        std::fs::write(&path, "1").map_err(file("write", &path))?;
    }
    lock(&host.bridges.forwarding).insert(key, Instant::now());
    Ok(())
}

/// The addresses of one interface.
pub(super) fn addresses_of(socket: &Socket, index: u32) -> SysResult<Vec<AddressInfo>> {
    let mut batch = Batch::new();
    let replies = socket.run(batch.get_addresses())?;
    Ok(addresses(&replies).into_iter().filter(|found| found.index == index).collect())
}
