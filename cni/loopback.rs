//! The loopback plugin: brings `lo` of the container up.

use crate::failure::{decoding, netns, open_netns, system};
use crate::types::{CniError, CniResult, Interface, Invocation, IpConfig};
use ipnet::IpNet;
use sys::netlink::{Batch, LinkInfo, addresses, link_info};
use sys::netns::Netns;

const NAME: &str = "lo";

/// Brings `lo` up; the result is that of the plugins before, or else says what `lo` has.
///
/// # Errors
/// When the namespace cannot be opened, or `lo` not brought up.
pub(crate) fn add(call: &Invocation) -> Result<CniResult, CniError> {
    let inside = open_netns(call)?;
    let link = set(&inside, true)?;
    if let Some(previous) = call.conf.prev_result().map_err(decoding)? {
        return Ok(previous);
    }
    let mut batch = Batch::new();
    let replies = inside.rtnl().run(batch.get_addresses()).map_err(system)?;
    let own = addresses(&replies).into_iter().filter(|found| found.index == link.index);
    let ips = own.filter_map(|found| {
        let address = IpNet::new(found.address.ip, found.address.prefix).ok()?;
        Some(IpConfig { interface: Some(0), address, gateway: None })
    });
    let interface = Interface {
        name: NAME.to_owned(),
        mac: link.mac.unwrap_or_default().to_string(),
        sandbox: netns(call)?.path.to_string_lossy().into_owned(),
        ..Interface::default()
    };
    Ok(CniResult { ips: ips.collect(), interfaces: vec![interface], ..CniResult::default() })
}

/// Takes `lo` down, unless the namespace is gone, about to go, or none.
///
/// # Errors
/// When `lo` cannot be taken down.
pub(crate) fn del(call: &Invocation) -> Result<(), CniError> {
    let there = call.netns.as_ref().is_some_and(|netns| !call.skip_link_delete && netns.path.exists());
    match there.then(|| open_netns(call)) {
        Some(Ok(inside)) => set(inside.as_ref(), false).map(|_| ()),
        _ => Ok(()),
    }
}

/// Verifies that `lo` is up.
///
/// # Errors
/// When it is not.
pub(crate) fn check(call: &Invocation) -> Result<(), CniError> {
    if get(open_netns(call)?.as_ref())?.up {
        return Ok(());
    }
    Err(CniError::new(CniError::INTERNAL, "interface lo is down"))
}

fn get(inside: &Netns) -> Result<LinkInfo, CniError> {
    let mut batch = Batch::new();
    let replies = inside.rtnl().run(batch.get_link(NAME)).map_err(system)?;
    link_info(&replies).ok_or_else(|| CniError::new(CniError::INTERNAL, "no interface lo"))
}

fn set(inside: &Netns, up: bool) -> Result<LinkInfo, CniError> {
    let link = get(inside)?;
    let mut batch = Batch::new();
    inside.rtnl().run(batch.set_up(NAME, link.index, up)).map_err(system)?;
    Ok(link)
}
