//! The host-local plugin: addresses out of ranges of this host, recorded as files.
//!
//! The files are those of the standard plugin: `<dataDir>/<network>/<address>` with the container and the
//! interface, `last_reserved_ip.<number of the set of ranges>`, and `lock`, so that either plugin can
//! continue where the other was.

mod allocate;
mod conf;
mod dns;
mod index;
mod owner;
mod range;
mod store;

use crate::failure::config;
use crate::types::{CniError, CniResult, Invocation, IpConfig, ValidAttachment};
use conf::HostLocal;
use ipnet::IpNet;

pub(crate) use index::Leases;
use owner::Owner;
use store::Store;

/// The type of this plugin, and of `ipam` in the configurations of others.
pub(crate) const TYPE: &str = "host-local";

/// Reserves one address of each set of ranges.
///
/// # Errors
/// When the configuration is wrong, a requested address is taken or in no range, the attachment has
/// addresses already, or no address is left; nothing is reserved then.
pub(crate) fn add(leases: &Leases, call: &Invocation) -> Result<CniResult, CniError> {
    let conf = HostLocal::read(call)?;
    let sets = conf.sets()?;
    let dns = dns::read(conf.resolv_conf())?;
    let owner = Owner::of(call);
    let mut store = Store::open(leases, &conf.directory())?;
    let mut requested = conf.requested(call)?;
    let mut ips = Vec::with_capacity(sets.len());
    for (number, set) in sets.iter().enumerate() {
        let wanted = requested.iter().position(|ip| set.contains(*ip)).map(|at| requested.remove(at));
        match allocate::reserve(&mut store, set, number, wanted, &owner) {
            Ok((address, gateway)) => {
                ips.push(IpConfig { interface: None, address, gateway: Some(gateway) });
            }
            Err(error) => return Err(undo(&mut store, &ips, &owner, error)),
        }
    }
    if !requested.is_empty() {
        let error = config(format!("requested addresses are in no range: {requested:?}"));
        return Err(undo(&mut store, &ips, &owner, error));
    }
    Ok(CniResult { ips, routes: conf.routes(), dns, ..CniResult::default() })
}

/// Gives back what this call has reserved, and returns the error that made it do so.
fn undo(store: &mut Store<'_>, ips: &[IpConfig], owner: &Owner, error: CniError) -> CniError {
    ips.iter().fold(error, |error, ip| match store.release(ip.address.addr(), owner) {
        Ok(_) => error,
        Err(failed) => error.clone().with_details(format!("and not undone: {}", failed.msg)),
    })
}

/// Gives the addresses of the attachment back. It succeeds when there are none, and by a configuration that is wrong.
///
/// # Errors
/// When the directory cannot be read or changed.
pub(crate) fn del(leases: &Leases, call: &Invocation) -> Result<(), CniError> {
    let Some(directory) = HostLocal::directory_of(call) else { return Ok(()) };
    let Some(mut store) = Store::open_existing(leases, &directory)? else { return Ok(()) };
    let owner = Owner::of(call);
    for ip in store.addresses_of(&owner)? {
        store.release(ip, &owner)?;
    }
    Ok(())
}

/// Verifies that the attachment has an address.
///
/// # Errors
/// When it has none.
pub(crate) fn check(leases: &Leases, call: &Invocation) -> Result<(), CniError> {
    let conf = HostLocal::read(call)?;
    let owner = Owner::of(call);
    let found = match Store::open_existing(leases, &conf.directory())? {
        Some(mut store) => !store.addresses_of(&owner)?.is_empty(),
        None => false,
    };
    if found {
        return Ok(());
    }
    let message = format!("host-local: no address of container {} on {}", call.container_id, call.ifname);
    Err(CniError::new(CniError::INTERNAL, message))
}

/// The gateways of every range, with their networks' prefixes; none while the ranges are not known.
pub(crate) fn gateways(call: &Invocation) -> Result<Vec<IpNet>, CniError> {
    let conf = HostLocal::read(call)?;
    conf.validate(call)?;
    // Valid without any: they come with each call.
    let sets = conf.sets().unwrap_or_default();
    let ranges = sets.iter().flat_map(|set| &set.0);
    Ok(ranges.filter_map(|range| IpNet::new(range.gateway, range.subnet.prefix_len()).ok()).collect())
}

/// Whether IPv6 addresses may be among those that are given; also while the ranges are not known.
pub(crate) fn gives_ipv6(call: &Invocation) -> bool {
    let sets = HostLocal::read(call).and_then(|conf| conf.sets());
    sets.map_or(true, |sets| sets.iter().flat_map(|set| &set.0).any(|range| range.subnet.addr().is_ipv6()))
}

/// Verifies the configuration, without a look at the host.
pub(crate) fn validate(call: &Invocation) -> Result<(), CniError> {
    HostLocal::read(call)?.validate(call)
}

/// Verifies the configuration and that addresses can be recorded. That every address is taken is not
/// reported: one pod too many must not make the node's network unready for all the others.
///
/// # Errors
/// [`CniError::NOT_AVAILABLE`] when it is not so.
pub(crate) fn status(leases: &Leases, call: &Invocation) -> Result<(), CniError> {
    let conf = HostLocal::read(call)?;
    let probe = conf.validate(call).and_then(|()| Store::open(leases, &conf.directory()));
    probe.map(|_| ()).map_err(|error| CniError::new(CniError::NOT_AVAILABLE, error.msg))
}

/// Gives the addresses back that belong to no valid attachment.
///
/// # Errors
/// When the directory cannot be read or changed.
pub(crate) fn gc(leases: &Leases, call: &Invocation) -> Result<(), CniError> {
    let valid = valid_attachments(call)?;
    let Some(directory) = HostLocal::directory_of(call) else { return Ok(()) };
    let Some(mut store) = Store::open_existing(leases, &directory)? else { return Ok(()) };
    store.release_others(&valid)
}

/// The attachments that a GC must keep.
pub(crate) fn valid_attachments(call: &Invocation) -> Result<Vec<ValidAttachment>, CniError> {
    // libcni of 1.1.0 writes both names; the specification's is the first.
    let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    let Some(value) = names.iter().find_map(|name| call.conf.get(name)).filter(|v| !v.is_null()) else {
        return Err(config("GC needs cni.dev/valid-attachments"));
    };
    serde_json::from_value(value.clone()).map_err(|error| {
        CniError::new(CniError::DECODING_FAILURE, format!("cni.dev/valid-attachments: {error}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::needless_pass_by_value)]
mod tests;
