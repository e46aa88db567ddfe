//! The container's end: set up through a socket inside its namespace, which is not entered.

use super::conf::Bridge;
use super::plan::next_hop;
use crate::failure::system;
use crate::host_local;
use crate::types::{CniError, CniResult};
use ipnet::IpNet;
use std::time::{Duration, Instant};
use sys::netlink::{Address, Batch, Devconf, Mac, RouteSpec, addresses};
use sys::netns::{Netns, run_in};

/// What IPv6 answers on an interface where it is turned off.
const EACCES: i32 = 13;
/// As long as the standard plugin waits.
const DAD_TIMEOUT: Duration = Duration::from_secs(10);
const DAD_POLL: Duration = Duration::from_millis(20);

/// An address as netlink takes it.
pub(super) fn address(net: IpNet) -> Address {
    Address { ip: net.addr(), prefix: net.prefix_len() }
}

/// Brings an interface up.
pub(super) fn bring_up(inside: &Netns, ifname: &str, index: u32) -> Result<(), CniError> {
    let mut batch = Batch::new();
    inside.rtnl().run(batch.set_up(ifname, index, true)).map(|_| ()).map_err(system)
}

/// Gives an interface its addresses, brings it up, and adds the routes: one exchange with the kernel. Another hardware
/// address comes first, while there is nothing yet that would be told of it.
pub(super) fn configure(
    inside: &Netns,
    (ifname, index, mac): (&str, u32, Option<Mac>),
    result: &CniResult,
    conf: &Bridge,
) -> Result<(), CniError> {
    let mut batch = Batch::new();
    if let Some(mac) = mac {
        batch.set_mac(ifname, index, mac);
    }
    let has_ipv6 = result.ips.iter().any(|ip| ip.address.addr().is_ipv6());
    if conf.ipam == host_local::TYPE && !has_ipv6 {
        // What it announces and solicits would reach every port of the bridge, and nobody who answers.
        batch.no_link_local(ifname);
    }
    for ip in &result.ips {
        batch.add_address(ifname, index, address(ip.address), conf.dad);
    }
    // What comes up with it would be announced: that is for the announcement to decide.
    batch.set_up(ifname, index, true).set_devconf(ifname, index, Devconf::ArpNotify);
    for route in &result.routes {
        batch.add_route(
            index,
            &RouteSpec {
                dst: address(route.dst.trunc()),
                gateway: next_hop(route, result),
                mtu: route.mtu,
                advmss: route.advmss,
                priority: route.priority,
                table: route.table,
                scope: route.scope,
            },
        );
    }
    match inside.rtnl().run(&mut batch) {
        Err(error) if error.errno == EACCES => {
            enable_ipv6(inside, ifname)?;
            inside.rtnl().run(&mut batch).map_err(system)?;
        }
        result => {
            result.map_err(system)?;
        }
    }
    if conf.dad && has_ipv6 {
        settle(inside, ifname, index)?;
    }
    Ok(())
}

/// The host's default may turn IPv6 off for new interfaces; this one gets an IPv6 address.
fn enable_ipv6(inside: &Netns, ifname: &str) -> Result<(), CniError> {
    let path = format!("/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6");
    let written = run_in(inside.fd(), || std::fs::write(&path, "0")).map_err(system)?;
    written.map_err(crate::failure::file("write", path.as_ref()))
}

/// Waits until IPv6 has looked for duplicates of every address of the interface.
fn settle(inside: &Netns, ifname: &str, index: u32) -> Result<(), CniError> {
    let deadline = Instant::now() + DAD_TIMEOUT;
    loop {
        let mut batch = Batch::new();
        let found = addresses(&inside.rtnl().run(batch.get_addresses()).map_err(system)?);
        let own = || found.iter().filter(|found| found.index == index);
        if let Some(duplicate) = own().find(|found| found.duplicate) {
            let message = format!("address {} of {ifname} is in use by another host", duplicate.address.ip);
            return Err(CniError::new(CniError::INTERNAL, message));
        }
        if !own().any(|found| found.tentative) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("addresses of {ifname} are still tentative after 10 s");
            return Err(CniError::new(CniError::INTERNAL, message));
        }
        std::thread::sleep(DAD_POLL);
    }
}
