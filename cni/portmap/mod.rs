//! The portmap plugin: ports of the host that lead to ports of the container.
//!
//! It is called after the plugin that made the interface, and finds the container's addresses in its
//! result. A host port is an element of a map of the nf_tables table `corten_hostport`.

mod conf;
pub(crate) mod rules;
mod waiting;

use crate::failure::{required_prev_result, system};
use crate::firewall::{Entries, Filter};
use crate::host_local::valid_attachments;
use crate::tag;
use crate::types::{CniError, CniResult, Command, Invocation};
use conf::{Mapping, PortMap, Protocol};
use serde_json::Value;
use std::net::IpAddr;
use sys::netlink::{Batch, Devconf, Socket, output_interface};

/// Maps the ports; the result is that of the plugins before.
///
/// A port that another attachment has stays with it until that goes; of several that wait the first gets it then, as with
/// the standard plugins. The interface that leads to the container is allowed
/// to route 127.0.0.0/8 (`route_localnet`), where `snat` is on, so that 127.0.0.1 answers too; the table, which is made
/// first, keeps everybody outside from using that.
///
/// # Errors
/// When the configuration is wrong or the kernel refuses.
pub(crate) fn add(filter: &Filter, call: &Invocation) -> Result<CniResult, CniError> {
    let conf = PortMap::read(call)?;
    let previous = required_prev_result(call)?;
    let addresses = previous.addresses_on(&call.ifname);
    if conf.mappings.is_empty() || addresses.is_empty() {
        return Ok(previous);
    }
    rules::TABLE.insert(filter, &[], &rules::entries(&conf, &addresses, &tag::of(call))?)?;
    failpoint::reach!("cni.portmap.mapped")?;
    if conf.snat
        && let Some(address) = addresses.iter().find(|address| address.is_ipv4())
    {
        route_localnet(*address)?;
    }
    forget_udp(filter, &conf.mappings);
    Ok(previous)
}

/// Whether a call asks for nothing: an ADD that only passes on the result of the plugin before.
#[must_use]
pub fn passes_on(call: &Invocation) -> bool {
    call.command == Command::Add
        && call.conf.plugin_type() == "portmap"
        && match call.conf.runtime("portMappings") {
            None | Some(Value::Null) => true,
            Some(mappings) => mappings.as_array().is_some_and(Vec::is_empty),
        }
}

/// Removes the mappings. It succeeds when there are none, and by a configuration that is wrong.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn del(filter: &Filter, call: &Invocation) -> Result<(), CniError> {
    let Some(conf) = PortMap::of_removal(call) else { return Ok(()) };
    // Without a readable result, or with mappings that contradict each other, every set is searched.
    let previous = call.conf.prev_result().ok().flatten().unwrap_or_default();
    let own = tag::of(call);
    let addresses = previous.addresses_on(&call.ifname);
    let expected = rules::entries(&conf, &addresses, &own).unwrap_or_default();
    rules::TABLE.release(filter, &expected, &own)?;
    forget_udp(filter, &conf.mappings);
    Ok(())
}

/// Verifies the configuration, without a look at the host.
pub(crate) fn validate(call: &Invocation) -> Result<(), CniError> {
    PortMap::read(call).map(drop)
}

/// Verifies that every mapping is there.
///
/// # Errors
/// When one is not.
pub(crate) fn check(filter: &Filter, call: &Invocation) -> Result<(), CniError> {
    let conf = PortMap::read(call)?;
    let previous = required_prev_result(call)?;
    let entries = rules::entries(&conf, &previous.addresses_on(&call.ifname), &tag::of(call))?;
    rules::TABLE.check(filter, &entries)
}

/// Verifies the configuration and that the kernel has nf_tables.
///
/// # Errors
/// [`CniError::NOT_AVAILABLE`] when it is not so.
pub(crate) fn status(call: &Invocation) -> Result<(), CniError> {
    let unavailable = |message: String| CniError::new(CniError::NOT_AVAILABLE, message);
    PortMap::read(call).map_err(|error| unavailable(error.msg))?;
    let probe = Socket::netfilter().and_then(|socket| sys::nft::generation(&socket));
    probe.map(|_| ()).map_err(|error| unavailable(error.to_string()))
}

/// Removes the mappings of this network that belong to no valid attachment.
///
/// # Errors
/// When the configuration is wrong or the kernel refuses.
pub(crate) fn gc(filter: &Filter, call: &Invocation) -> Result<(), CniError> {
    rules::TABLE.remove(filter, tag::stale(call, &valid_attachments(call)?))
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

/// A UDP flow that was tracked before a mapping existed would go on bypassing it, and one that was tracked while it did
/// would go on to the container that had it, or to whoever has its address next.
fn forget_udp(filter: &Filter, mappings: &[Mapping]) {
    let udp: Vec<_> = mappings.iter().filter(|mapping| mapping.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return;
    }
    let Ok(socket) = filter.socket() else { return };
    for mapping in udp {
        for ipv4 in [true, false] {
            if mapping.host_ip.is_none_or(|ip| ip.is_ipv4() == ipv4) {
                // Whether it works or not, the mapping is as it should be: a flow without traffic ends by itself.
                let _ = socket.forget_udp(ipv4, mapping.host_port);
            }
        }
    }
}

/// The packet rules of attachments, as they were after ADD.
#[derive(Default)]
pub(crate) struct Rules(Entries);

impl Rules {
    /// Those of an attachment are to be there.
    ///
    /// # Errors
    /// When a mapping cannot be a rule.
    pub(crate) fn expect(&mut self, call: &Invocation) -> Result<(), CniError> {
        let Ok(conf) = PortMap::read(call) else { return Ok(()) };
        if conf.mappings.is_empty() {
            return Ok(());
        }
        let previous = call.conf.prev_result().ok().flatten().unwrap_or_default();
        self.0.extend(rules::entries(&conf, &previous.addresses_on(&call.ifname), &tag::of(call))?);
        Ok(())
    }

    /// Makes what is missing, and where something is open also without any of them. Whether anything was.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn heal(&self, filter: &Filter, is_open: bool) -> Result<bool, CniError> {
        if is_open {
            rules::TABLE.heal_all(filter, &[], &self.0)
        } else {
            rules::TABLE.heal(filter, &[], &self.0)
        }
    }
}
