//! CHECK: is the container still attached as ADD left it?

use super::conf::Bridge;
use super::container::address;
use super::host::addresses_of;
use super::plan::next_hop;
use crate::failure::{netns, open_netns, required_prev_result, system};
use crate::types::{CniError, CniResult, Interface, Invocation};
use sys::netlink::{Batch, LinkInfo, Socket, link_info, routes};
use sys::netns::Netns;

/// Compares the previous result with the kernel's state, and returns it.
pub(super) fn attachment(call: &Invocation, conf: &Bridge) -> Result<CniResult, CniError> {
    let result = required_prev_result(call)?;
    let host = Socket::route().map_err(system)?;
    let inside = open_netns(call)?;
    let sandbox = netns(call)?.path.to_string_lossy().into_owned();

    let bridge = link(&host, &conf.name)?;
    if bridge.kind != "bridge" {
        return Err(broken(format!("{} is not a bridge", conf.name)));
    }
    if conf.promiscuous != (bridge.promiscuity > 0) {
        return Err(broken(format!("bridge {} has another promiscMode", conf.name)));
    }
    let described = |name: &str, sandbox: &str| {
        let mut all = result.interfaces.iter();
        all.find(|interface| interface.name == name && interface.sandbox == sandbox)
    };
    same_mac(described(&conf.name, ""), &bridge)?;

    let container = link(inside.rtnl(), &call.ifname)?;
    let Some(interface) = described(&call.ifname, &sandbox) else {
        return Err(broken(format!("prevResult has no interface {} in {sandbox}", call.ifname)));
    };
    same_mac(Some(interface), &container)?;
    if container.kind != "veth" || (!container.up && !conf.container_down) {
        return Err(broken(format!("{} is not a veth, or is down", call.ifname)));
    }

    let port = port(&host, &container)?;
    if port.master != Some(bridge.index) {
        return Err(broken(format!("{} is no port of bridge {}", port.name, conf.name)));
    }
    if port.peer != Some(container.index) {
        return Err(broken(format!("{} is not the other end of {}", port.name, call.ifname)));
    }
    same_mac(described(&port.name, ""), &port)?;
    addresses_and_routes(&inside, &container, &result)?;
    Ok(result)
}

fn addresses_and_routes(inside: &Netns, container: &LinkInfo, result: &CniResult) -> Result<(), CniError> {
    let found = addresses_of(inside.rtnl(), container.index).map_err(system)?;
    for ip in &result.ips {
        if !found.iter().any(|found| found.address == address(ip.address)) {
            return Err(broken(format!("address {} is not on {}", ip.address, container.name)));
        }
    }
    let mut batch = Batch::new();
    let found = routes(&inside.rtnl().run(batch.get_routes()).map_err(system)?);
    for route in &result.routes {
        let hop = next_hop(route, result);
        let dst = address(route.dst.trunc());
        if !found.iter().any(|found| found.dst == dst && (hop.is_none() || found.gateway == hop)) {
            return Err(broken(format!("route {} is missing", route.dst)));
        }
    }
    Ok(())
}

fn link(socket: &Socket, name: &str) -> Result<LinkInfo, CniError> {
    let mut batch = Batch::new();
    let found = socket.run(batch.get_link(name)).map_err(system)?;
    link_info(&found).ok_or_else(|| broken(format!("interface {name} is missing")))
}

fn port(host: &Socket, container: &LinkInfo) -> Result<LinkInfo, CniError> {
    let missing = || broken(format!("{} has no other end on the host", container.name));
    let mut batch = Batch::new();
    batch.get_link_index(container.peer.ok_or_else(missing)?);
    let found = host.run(&mut batch).map_err(system)?;
    link_info(&found).ok_or_else(missing)
}

fn same_mac(described: Option<&Interface>, link: &LinkInfo) -> Result<(), CniError> {
    let mac = link.mac.unwrap_or_default().to_string();
    match described {
        Some(interface) if !interface.mac.is_empty() && !interface.mac.eq_ignore_ascii_case(&mac) => {
            let message = format!("hardware address of {} is {mac}, not {}", link.name, interface.mac);
            Err(broken(message))
        }
        _ => Ok(()),
    }
}

fn broken(message: String) -> CniError {
    CniError::new(CniError::INTERNAL, message)
}
