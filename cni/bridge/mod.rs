//! The bridge plugin: a veth pair between the container and a bridge of the host.

mod check;
mod conf;
mod container;
mod host;
mod plan;

use crate::failure::{config, open_netns, system};
use crate::firewall::{masquerade, spoof};
use crate::types::{CniError, CniResult, Command, Interface, Invocation};
use crate::{delegate, host_local, tag};
use conf::Bridge;
use host::HostLink;
use ipnet::IpNet;
use sys::netlink::{Batch, Mac, Socket};
use sys::netns::Netns;

/// `ENODEV`: no such interface.
const ENODEV: i32 = 19;

/// Attaches the container to the bridge, which is made when it is not there.
///
/// # Errors
/// When the configuration is wrong, IPAM gives no address, or the kernel refuses. What was made is removed.
pub fn add(call: &Invocation) -> Result<CniResult, CniError> {
    let conf = Bridge::read(call)?;
    let inside = open_netns(call)?;
    let host = Socket::route().map_err(system)?;
    let mac = match conf.mac {
        Some(mac) => mac,
        None => random_mac()?,
    };
    let (bridge, link) = host::attach(&host, &conf, call, &inside, mac)?;
    let mut undo = Undo { call, conf: &conf, host: &host, link: &link, addresses: false };
    let made = complete(&mut undo, &inside, &bridge);
    made.map_err(|error| undo.run(error))
}

/// What an ADD has made so far.
struct Undo<'a> {
    call: &'a Invocation,
    conf: &'a Bridge,
    host: &'a Socket,
    link: &'a HostLink,
    addresses: bool,
}

impl Undo<'_> {
    /// Removes what was made. What cannot be removed is told with the error that led here.
    fn run(&self, error: CniError) -> CniError {
        let mut failures = Vec::new();
        let mut batch = Batch::new();
        batch.delete_link(&self.link.name).tolerate(ENODEV);
        failures.extend(self.host.run(&mut batch).err().map(|failed| failed.to_string()));
        if self.addresses {
            let freed = delegate::run(self.call, &self.conf.ipam, Command::Del);
            failures.extend(freed.err().map(|failed| failed.msg));
        }
        failures.extend(remove_rules(self.call, self.conf).err().map(|failed| failed.msg));
        if failures.is_empty() {
            return error;
        }
        let details = format!("and not undone: {}", failures.join("; "));
        error.with_details(details)
    }
}

fn complete(undo: &mut Undo<'_>, inside: &Netns, bridge: &host::BridgeState) -> Result<CniResult, CniError> {
    let (call, conf, host, link) = (undo.call, undo.conf, undo.host, undo.link);
    let mut result = CniResult {
        interfaces: vec![
            interface(&conf.name, bridge.mac),
            interface(&link.name, link.mac),
            Interface {
                sandbox: inside.path().to_string_lossy().into_owned(),
                ..interface(&call.ifname, link.peer_mac)
            },
        ],
        ..CniResult::default()
    };
    if conf.mac_spoof_check {
        spoof::add(&link.name, link.peer_mac, &tag::of(call))?;
    }
    if conf.ipam.is_empty() {
        if !conf.container_down {
            container::bring_up(inside, &call.ifname, link.peer)?;
        }
    } else {
        let given = delegate::add(call, &conf.ipam)?;
        undo.addresses = true;
        plan::complete(&mut result, given, conf)?;
        container::configure(inside, &call.ifname, link.peer, &result, conf)?;
        if conf.is_gateway {
            host::become_gateway(host, conf, bridge, &plan::gateways(&result)?)?;
        }
        if conf.ip_masq {
            masquerade::add(&addresses(&result), &tag::of(call))?;
        }
    }
    if !conf.container_down {
        host::announce(host, inside, call, bridge, link, &addresses(&result))?;
    }
    if !conf.dns.is_empty() {
        result.dns = conf.dns.clone();
    }
    Ok(result)
}

/// Detaches the container. It succeeds when nothing is attached, and without the namespace.
///
/// # Errors
/// When something that is there cannot be removed; the rest is removed all the same.
pub fn del(call: &Invocation) -> Result<(), CniError> {
    let conf = Bridge::read(call)?;
    let mut failures = Vec::new();
    if !call.skip_link_delete {
        failures.extend(delete_links(call).err());
    }
    if !conf.ipam.is_empty() {
        failures.extend(delegate::run(call, &conf.ipam, Command::Del).err());
    }
    failures.extend(remove_rules(call, &conf).err());
    failures.into_iter().next().map_or(Ok(()), Err)
}

fn delete_links(call: &Invocation) -> Result<(), CniError> {
    let mut batch = Batch::new();
    let name = host::veth_name(call);
    Socket::route().and_then(|host| host.run(batch.delete_link(&name).tolerate(ENODEV))).map_err(system)?;
    // Another plugin of this name has made it, or it is gone with its other end.
    let there = call.netns.as_ref().is_some_and(|netns| netns.path.exists());
    let Some(inside) = there.then(|| open_netns(call)).and_then(Result::ok) else { return Ok(()) };
    let mut batch = Batch::new();
    inside.rtnl().run(batch.delete_link(&call.ifname).tolerate(ENODEV)).map_err(system)?;
    Ok(())
}

fn remove_rules(call: &Invocation, conf: &Bridge) -> Result<(), CniError> {
    let own = tag::of(call);
    // Without a readable result every set is searched.
    let previous = call.conf.prev_result().ok().flatten().unwrap_or_default();
    let masqueraded = if conf.ip_masq { masquerade::release(&addresses(&previous), &own) } else { Ok(()) };
    let checked = if conf.mac_spoof_check { spoof::remove(|tag| tag == own) } else { Ok(()) };
    masqueraded.and(checked)
}

/// Verifies that the container is attached as the previous result says.
///
/// # Errors
/// What is missing or different.
pub fn check(call: &Invocation) -> Result<(), CniError> {
    let conf = Bridge::read(call)?;
    if !conf.ipam.is_empty() {
        delegate::run(call, &conf.ipam, Command::Check)?;
    }
    let result = check::attachment(call, &conf)?;
    if conf.ip_masq && !conf.ipam.is_empty() {
        masquerade::check(&addresses(&result), &tag::of(call))?;
    }
    Ok(())
}

/// Verifies the configuration, and asks IPAM.
///
/// # Errors
/// [`CniError::NOT_AVAILABLE`] when the configuration is wrong; what IPAM says.
pub fn status(call: &Invocation) -> Result<(), CniError> {
    let conf = Bridge::read(call).map_err(|error| CniError::new(CniError::NOT_AVAILABLE, error.msg))?;
    if conf.ipam.is_empty() { Ok(()) } else { delegate::run(call, &conf.ipam, Command::Status) }
}

/// Removes the packet rules and addresses of this network that belong to no valid attachment. Interfaces go
/// with their namespaces.
///
/// # Errors
/// When something cannot be removed; the rest is removed all the same.
pub fn gc(call: &Invocation) -> Result<(), CniError> {
    let conf = Bridge::read(call)?;
    let stale = tag::stale(call, &host_local::valid_attachments(call)?);
    let masqueraded = masquerade::remove(&stale);
    let checked = spoof::remove(&stale);
    let freed = if conf.ipam.is_empty() { Ok(()) } else { delegate::run(call, &conf.ipam, Command::Gc) };
    masqueraded.and(checked).and(freed)
}

fn interface(name: &str, mac: Mac) -> Interface {
    Interface { name: name.to_owned(), mac: mac.to_string(), ..Interface::default() }
}

fn addresses(result: &CniResult) -> Vec<IpNet> {
    result.ips.iter().map(|ip| ip.address).collect()
}

fn random_mac() -> Result<Mac, CniError> {
    let mut bits = [0; 6];
    getrandom::fill(&mut bits).map_err(|error| config(format!("random numbers: {error}")))?;
    Ok(Mac::local(bits))
}
