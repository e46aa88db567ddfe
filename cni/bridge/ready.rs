//! The pair of an attachment to come, made ahead: of all that an ADD does, the kernel takes longest for that.

use super::conf::Bridge;
use super::host::{self, BridgeState, Container, Host, HostLink};
use super::random_mac;
use crate::failure::{open_netns, system};
use crate::types::{CniError, Invocation};
use crate::{Plugins, host_local};
use serde_json::Value;
use sys::netlink::{Batch, Devconf, Socket, link_info};

/// What `ip link` shows at a port that waits.
pub const READY: &str = "waits for a pod";

/// A pair, one end a port of the bridge and the other in a namespace; both are up, and there is no address.
#[derive(Debug)]
pub struct Ready {
    made_for: Port,
    /// By which no IPv6 address is given, where the interface was made for none.
    without_ipv6: Option<Value>,
    bridge: u32,
    link: HostLink,
}

/// What of a configuration shows at the pair.
#[derive(Debug, PartialEq, Eq)]
struct Port {
    bridge: String,
    mtu: u32,
    hairpin: bool,
    isolated: bool,
}

impl Port {
    fn of(conf: &Bridge) -> Self {
        let bridge = conf.name.clone();
        Self { bridge, mtu: conf.mtu, hairpin: conf.hairpin, isolated: conf.port_isolation }
    }
}

/// Makes one, where the bridge is there and an ADD could use it.
///
/// # Errors
/// When the configuration is wrong or the kernel refuses. What was made is removed.
pub(crate) fn prepare(plugins: &Plugins, call: &Invocation) -> Result<Option<Ready>, CniError> {
    let conf = Bridge::read(call)?;
    if conf.mac.is_some() || conf.container_down {
        return Ok(None);
    }
    let inside = open_netns(call)?;
    let host = Host { socket: Socket::route().map_err(system)?, bridges: &plugins.bridges };
    let Some(bridge) = host.known(&conf) else { return Ok(None) };
    let container = Container { call, netns: &inside };
    let link = host::create(&host.socket, &conf, container, &bridge, (random_mac()?, random_mac()?))?;
    let gives_ipv6 = conf.ipam != host_local::TYPE || host_local::gives_ipv6(call);
    let without_ipv6 = call.conf.get("ipam").filter(|_| !gives_ipv6).cloned();
    let mut batch = Batch::new();
    batch.set_devconf(&call.ifname, link.peer, Devconf::ArpNotify);
    if without_ipv6.is_some() {
        batch.no_link_local(&call.ifname);
    }
    batch.set_up(&call.ifname, link.peer, true);
    let up = inside.rtnl().run(&mut batch);
    let marked = up.and_then(|_| host.socket.run(Batch::new().set_alias_by_name(&link.name, READY)));
    if let Err(error) = marked {
        host::remove(&host.socket, &link.name);
        return Err(system(error));
    }
    Ok(Some(Ready { made_for: Port::of(&conf), without_ipv6, bridge: bridge.index, link }))
}

/// The pair that was made for this attachment, if it is as this configuration wants one, and still what it was. Of another
/// nothing is left.
pub(super) fn take(host: &Host<'_>, conf: &Bridge, call: &Invocation) -> Option<(BridgeState, HostLink)> {
    let ready = call.netns.as_ref()?.ready.as_ref()?;
    let link = &ready.link;
    let gives_as_known = |ipam: &Value| {
        call.conf.get("ipam") == Some(ipam)
            && call.conf.get("runtimeConfig").is_none_or(|given| given.get("ipRanges").is_none())
    };
    let is_wanted = link.name == host::veth_name(call)
        && conf.mac.is_none()
        && !conf.container_down
        && ready.without_ipv6.as_ref().is_none_or(gives_as_known);
    let bridge = host.known(conf).filter(|known| known.index == ready.bridge);
    if let Some(bridge) = bridge.filter(|_| is_wanted && ready.made_for == Port::of(conf)) {
        let mut batch = Batch::new();
        batch.get_link(&link.name).set_alias_by_name(&link.name, "");
        let found = host.socket.run(&mut batch).ok().and_then(|replies| link_info(&replies));
        let is_port = |found: &sys::netlink::LinkInfo| {
            found.up && found.master == Some(ready.bridge) && found.mac == Some(link.mac)
        };
        if found.is_some_and(|found| is_port(&found)) {
            return Some((bridge, link.clone()));
        }
    }
    host::remove(&host.socket, &link.name);
    None
}
