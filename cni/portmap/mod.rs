//! The portmap plugin: ports of the host that lead to ports of the container.
//!
//! It is called after the plugin that made the interface, and finds the container's addresses in its
//! result. A host port is an element of a map of the nf_tables table `corten_hostport`.

mod conf;
mod rules;

use crate::failure::{required_prev_result, system};
use crate::host_local::valid_attachments;
use crate::tag;
use crate::types::{CniError, CniResult, Invocation};
use conf::{Mapping, PortMap, Protocol};
use std::net::IpAddr;
use sys::netlink::{Batch, Devconf, Socket, output_interface};

/// Maps the ports; the result is that of the plugins before.
///
/// A port that another attachment has is taken over. The interface that leads to the container is allowed
/// to route 127.0.0.0/8 (`route_localnet`), where `snat` is on, so that 127.0.0.1 answers too; the table, which is made
/// first, keeps everybody outside from using that.
///
/// # Errors
/// When the configuration is wrong or the kernel refuses.
pub fn add(call: &Invocation) -> Result<CniResult, CniError> {
    let conf = PortMap::read(call)?;
    let previous = required_prev_result(call)?;
    let addresses = container_addresses(call, &previous);
    if conf.mappings.is_empty() || addresses.is_empty() {
        return Ok(previous);
    }
    rules::TABLE.insert(&[], &rules::entries(&conf, &addresses, &tag::of(call))?)?;
    if conf.snat
        && let Some(address) = addresses.iter().find(|address| address.is_ipv4())
    {
        route_localnet(*address)?;
    }
    forget_udp(&conf.mappings, &addresses);
    Ok(previous)
}

/// Removes the mappings. It succeeds when there are none.
///
/// # Errors
/// When the configuration is wrong or the kernel refuses.
pub fn del(call: &Invocation) -> Result<(), CniError> {
    let conf = PortMap::read(call)?;
    if conf.mappings.is_empty() {
        return Ok(());
    }
    // Without a readable result every set is searched.
    let previous = call.conf.prev_result().ok().flatten().unwrap_or_default();
    let own = tag::of(call);
    let expected = rules::entries(&conf, &container_addresses(call, &previous), &own)?;
    rules::TABLE.release(&expected, &own)
}

/// Verifies that every mapping is there.
///
/// # Errors
/// When one is not.
pub fn check(call: &Invocation) -> Result<(), CniError> {
    let conf = PortMap::read(call)?;
    let previous = required_prev_result(call)?;
    let entries = rules::entries(&conf, &container_addresses(call, &previous), &tag::of(call))?;
    rules::TABLE.check(&entries)
}

/// Verifies the configuration and that the kernel has nf_tables.
///
/// # Errors
/// [`CniError::NOT_AVAILABLE`] when it is not so.
pub fn status(call: &Invocation) -> Result<(), CniError> {
    let unavailable = |message: String| CniError::new(CniError::NOT_AVAILABLE, message);
    PortMap::read(call).map_err(|error| unavailable(error.msg))?;
    let probe = Socket::netfilter().and_then(|socket| sys::nft::generation(&socket));
    probe.map(|_| ()).map_err(|error| unavailable(error.to_string()))
}

/// Removes the mappings of this network that belong to no valid attachment.
///
/// # Errors
/// When the configuration is wrong or the kernel refuses.
pub fn gc(call: &Invocation) -> Result<(), CniError> {
    rules::TABLE.remove(tag::stale(call, &valid_attachments(call)?))
}

/// The first address of each family on the container's interface.
fn container_addresses(call: &Invocation, result: &CniResult) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::with_capacity(2);
    for ip in &result.ips {
        let interface = ip.interface.and_then(|at| result.interfaces.get(usize::try_from(at).ok()?));
        let elsewhere = interface.is_some_and(|at| at.name != call.ifname || at.sandbox.is_empty());
        let address = ip.address.addr();
        if !elsewhere && !found.iter().any(|known| known.is_ipv4() == address.is_ipv4()) {
            found.push(address);
        }
    }
    found
}

/// Lets packets from 127.0.0.0/8 leave by the interface that leads to an address. Where none leads there,
/// there is nothing to allow.
fn route_localnet(address: IpAddr) -> Result<(), CniError> {
    let socket = Socket::route().map_err(system)?;
    let mut batch = Batch::new();
    let Ok(replies) = socket.run(batch.get_route_to(address)) else { return Ok(()) };
    let Some(index) = output_interface(&replies) else { return Ok(()) };
    let mut batch = Batch::new();
    let what = format!("interface {index}");
    socket.run(batch.set_devconf(&what, index, Devconf::RouteLocalnet)).map_err(system)?;
    Ok(())
}

/// A UDP flow that was tracked before the mapping existed would go on bypassing it.
fn forget_udp(mappings: &[Mapping], addresses: &[IpAddr]) {
    let udp = mappings.iter().filter(|mapping| mapping.protocol == Protocol::Udp);
    for port in udp.map(|mapping| mapping.host_port) {
        for address in addresses {
            // Whether it works or not, the mapping stands: a flow without traffic ends by itself.
            let _ = Socket::netfilter().and_then(|socket| socket.forget_udp(address.is_ipv4(), port));
        }
    }
}
