//! The bridge plugin: a veth pair between the container and a bridge of the host.

mod announce;
mod check;
mod clash;
mod conf;
mod container;
mod host;
mod plan;
mod ready;

use crate::failure::{all_of, config, open_netns, system};
use crate::firewall::{Filter, masquerade, spoof};
use crate::types::{CniError, CniResult, Command, Interface, Invocation};
use crate::{Plugins, delegate, host_local, tag};
use conf::{Bridge, Removal};
pub(crate) use host::Bridges;
use host::{BridgeState, Container, ENODEV, Host, HostLink};
use ipnet::IpNet;
pub(crate) use ready::prepare;
pub use ready::{READY, Ready};
use std::collections::BTreeSet;
use sys::netlink::{Batch, Mac, Socket};
use sys::netns::Netns;

/// Attaches the container to the bridge, which is made when it is not there.
///
/// # Errors
/// When the configuration is wrong, IPAM gives no address, or the kernel refuses. What was made is removed.
pub(crate) fn add(plugins: &Plugins, call: &Invocation) -> Result<CniResult, CniError> {
    let conf = Bridge::read(call)?;
    let inside = open_netns(call)?;
    let host = Host { socket: Socket::route().map_err(system)?, bridges: &plugins.bridges };
    let (bridge, link) = match ready::take(&host, &conf, call) {
        Some(made) => made,
        None => {
            let mac = match conf.mac {
                Some(mac) => mac,
                None => random_mac()?,
            };
            host::attach(&host, &conf, Container { call, netns: &inside }, mac)?
        }
    };
    let mut undo = Undo { plugins, call, conf: &conf, host: &host, link: &link, addresses: false };
    let made = complete(&mut undo, &inside, &bridge);
    made.map_err(|error| undo.run(error))
}

/// What an ADD has made so far.
struct Undo<'a> {
    plugins: &'a Plugins,
    call: &'a Invocation,
    conf: &'a Bridge,
    host: &'a Host<'a>,
    link: &'a HostLink,
    addresses: bool,
}

impl Undo<'_> {
    /// Removes what was made. What cannot be removed is told with the error that led here.
    fn run(&self, error: CniError) -> CniError {
        let mut failures = Vec::new();
        let mut batch = Batch::new();
        batch.delete_link(&self.link.name).tolerate(ENODEV);
        failures.extend(self.host.socket.run(&mut batch).err().map(|failed| failed.to_string()));
        if self.addresses {
            let freed = delegate::run(self.plugins, self.call, &self.conf.ipam, Command::Del);
            failures.extend(freed.err().map(|failed| failed.msg));
        }
        failures.extend(
            remove_rules(&self.plugins.filter, self.call, &Removal::read(self.call))
                .err()
                .map(|failed| failed.msg),
        );
        if failures.is_empty() {
            return error;
        }
        let details = format!("and not undone: {}", failures.join("; "));
        error.with_details(details)
    }
}

fn complete(undo: &mut Undo<'_>, inside: &Netns, bridge: &BridgeState) -> Result<CniResult, CniError> {
    let (plugins, call, conf) = (undo.plugins, undo.call, undo.conf);
    let host = undo.host;
    failpoint::reach!("cni.bridge.linked")?;
    let mut result = CniResult::default();
    let mut mac = undo.link.peer_mac;
    if !conf.ipam.is_empty() {
        let given = delegate::add(plugins, call, &conf.ipam)?;
        undo.addresses = true;
        failpoint::reach!("cni.bridge.leased")?;
        plan::complete(&mut result, given, conf)?;
        mac = announce::mac(conf, &result, mac);
    }
    let link = HostLink { peer_mac: mac, ..undo.link.clone() };
    result.interfaces = vec![
        interface(&conf.name, bridge.mac),
        interface(&link.name, link.mac),
        Interface { sandbox: inside.path().to_string_lossy().into_owned(), ..interface(&call.ifname, mac) },
    ];
    if conf.mac_spoof_check {
        spoof::add(&plugins.filter, &link.name, mac, &tag::of(call))?;
    }
    if conf.ipam.is_empty() {
        if !conf.container_down {
            container::bring_up(inside, &call.ifname, link.peer)?;
        }
    } else {
        let changed = Some(mac).filter(|mac| *mac != undo.link.peer_mac);
        container::configure(inside, (&call.ifname, link.peer, changed), &result, conf)?;
        failpoint::reach!("cni.bridge.configured")?;
        if conf.is_gateway {
            host::become_gateway(host, conf, bridge, &plan::gateways(&result)?)?;
        }
        if conf.ip_masq {
            masquerade::add(&plugins.filter, &addresses(&result), &tag::of(call))?;
            failpoint::reach!("cni.bridge.masqueraded")?;
        }
    }
    if !conf.container_down {
        let container = Container { call, netns: inside };
        announce::announce(host, container, bridge, &link, &addresses(&result))?;
    }
    if !conf.dns.is_empty() {
        result.dns = conf.dns.clone();
    }
    Ok(result)
}

/// Detaches the container. It succeeds when nothing is attached, without the namespace, and by a configuration that is
/// wrong.
///
/// # Errors
/// When something that is there cannot be removed; the rest is removed all the same.
pub(crate) fn del(plugins: &Plugins, call: &Invocation) -> Result<(), CniError> {
    let conf = Removal::read(call);
    let mut failures = Vec::new();
    if !call.skip_link_delete {
        failures.extend(delete_links(call).err());
    }
    if !conf.ipam.is_empty() {
        failures.extend(delegate::run(plugins, call, &conf.ipam, Command::Del).err());
    }
    failures.extend(remove_rules(&plugins.filter, call, &conf).err());
    all_of(failures)
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

fn remove_rules(filter: &Filter, call: &Invocation, conf: &Removal) -> Result<(), CniError> {
    let own = tag::of(call);
    // Without a readable result every set is searched.
    let previous = call.conf.prev_result().ok().flatten().unwrap_or_default();
    let masqueraded =
        if conf.ip_masq { masquerade::release(filter, &addresses(&previous), &own) } else { Ok(()) };
    let checked = if conf.mac_spoof_check { spoof::remove(filter, |tag| tag == own) } else { Ok(()) };
    all_of([masqueraded.err(), checked.err()].into_iter().flatten())
}

/// Verifies that the container is attached as the previous result says.
///
/// # Errors
/// What is missing or different.
pub(crate) fn check(plugins: &Plugins, call: &Invocation) -> Result<(), CniError> {
    let conf = Bridge::read(call)?;
    if !conf.ipam.is_empty() {
        delegate::run(plugins, call, &conf.ipam, Command::Check)?;
    }
    let result = check::attachment(call, &conf)?;
    if conf.ip_masq && !conf.ipam.is_empty() {
        masquerade::check(&plugins.filter, &addresses(&result), &tag::of(call))?;
    }
    Ok(())
}

/// The packet rules of attachments, as they were after ADD.
#[derive(Default)]
pub(crate) struct Rules {
    masqueraded: Vec<(Vec<IpNet>, String)>,
    checked: Vec<spoof::Port>,
    bridges: BTreeSet<String>,
}

impl Rules {
    /// Those of an attachment are to be there.
    pub(crate) fn expect(&mut self, call: &Invocation) {
        let Ok(conf) = Bridge::read(call) else { return };
        if let Ok(Some(result)) = call.conf.prev_result() {
            if conf.ip_masq && !conf.ipam.is_empty() {
                self.masqueraded.push((addresses(&result), tag::of(call)));
            }
            let own = result.interfaces.iter().find(|own| own.name == call.ifname && !own.sandbox.is_empty());
            if let Some(mac) = own.filter(|_| conf.mac_spoof_check).and_then(|own| Mac::parse(&own.mac)) {
                self.checked.push(spoof::Port { name: host::veth_name(call), mac, tag: tag::of(call) });
            }
        }
        self.bridges.insert(conf.name);
    }

    /// Makes what is missing. Whether anything was.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn heal(&self, filter: &Filter) -> Result<bool, CniError> {
        let masqueraded = masquerade::heal(filter, &self.masqueraded);
        let checked = spoof::heal(filter, &self.checked);
        Ok(masqueraded? | checked?)
    }

    /// Whether packets to 127.0.0.0/8 are routed on one of the bridges, as host ports want it: for good, since it outlives
    /// them.
    pub(crate) fn route_loopback(&self) -> bool {
        self.bridges.iter().any(|name| {
            let setting = format!("/proc/sys/net/ipv4/conf/{name}/route_localnet");
            std::fs::read(setting).is_ok_and(|value| value.starts_with(b"1"))
        })
    }
}

/// Verifies the configuration, without a look at the host.
pub(crate) fn validate(call: &Invocation) -> Result<(), CniError> {
    let conf = Bridge::read(call)?;
    if conf.ipam == host_local::TYPE { host_local::validate(call) } else { Ok(()) }
}

/// Verifies the configuration and that the bridge and its subnets are not another network's, and asks IPAM.
///
/// # Errors
/// [`CniError::NOT_AVAILABLE`] when the configuration is wrong or the bridge or a subnet is taken; what IPAM says.
pub(crate) fn status(plugins: &Plugins, call: &Invocation) -> Result<(), CniError> {
    let unavailable = |error: CniError| CniError::new(CniError::NOT_AVAILABLE, error.msg);
    let conf = Bridge::read(call).map_err(unavailable)?;
    let knows = conf.is_gateway && conf.ipam == host_local::TYPE;
    let gateways = if knows { host_local::gateways(call).map_err(unavailable)? } else { Vec::new() };
    let host = Socket::route().map_err(system)?;
    clash::free_for(&host, &conf, &gateways).map_err(unavailable)?;
    if conf.ipam.is_empty() { Ok(()) } else { delegate::run(plugins, call, &conf.ipam, Command::Status) }
}

/// Removes the packet rules and addresses of this network that belong to no valid attachment. Interfaces go
/// with their namespaces.
///
/// # Errors
/// When something cannot be removed; the rest is removed all the same.
pub(crate) fn gc(plugins: &Plugins, call: &Invocation) -> Result<(), CniError> {
    let conf = Removal::read(call);
    let stale = tag::stale(call, &host_local::valid_attachments(call)?);
    let masqueraded = masquerade::remove(&plugins.filter, &stale);
    let pruned = masquerade::prune(&plugins.filter);
    let checked = spoof::remove(&plugins.filter, &stale);
    let freed =
        if conf.ipam.is_empty() { Ok(()) } else { delegate::run(plugins, call, &conf.ipam, Command::Gc) };
    all_of([masqueraded.err(), pruned.err(), checked.err(), freed.err()].into_iter().flatten())
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
