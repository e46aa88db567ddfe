//! The choice of an address.

use super::owner::Owner;
use super::range::RangeSet;
use super::store::Store;
use crate::failure::config;
use crate::types::CniError;
use ipnet::IpNet;
use std::net::IpAddr;

/// Reserves an address of a set: the wanted one, or the next free one after the last that was given out, so
/// that an address rests as long as possible. Returns it with its gateway.
pub(super) fn reserve(
    store: &mut Store<'_>,
    set: &RangeSet,
    number: usize,
    wanted: Option<IpAddr>,
    owner: &Owner,
) -> Result<(IpNet, IpAddr), CniError> {
    if let Some(ip) = wanted {
        return reserve_wanted(store, set, number, ip, owner);
    }
    if let Some(ip) = store.addresses_of(owner)?.into_iter().find(|ip| set.contains(*ip)) {
        return Err(config(format!(
            "{ip} has been allocated to {}, duplicate allocation is not allowed",
            owner.container_id
        )));
    }
    let last = store.last_reserved(number);
    for (ip, range) in set.addresses_after(last) {
        if store.reserve(ip, number, owner)? {
            return with_gateway(ip, range.subnet, range.gateway);
        }
    }
    Err(CniError::new(CniError::INTERNAL, format!("no address available in ranges {set}")))
}

fn reserve_wanted(
    store: &mut Store<'_>,
    set: &RangeSet,
    number: usize,
    ip: IpAddr,
    owner: &Owner,
) -> Result<(IpNet, IpAddr), CniError> {
    let Some(range) = set.range_of(ip) else {
        return Err(config(format!("requested address {ip} is not in ranges {set}")));
    };
    if ip == range.gateway {
        return Err(config(format!("requested address {ip} is the gateway of its subnet")));
    }
    if !store.reserve(ip, number, owner)? {
        return Err(config(format!("requested address {ip} is not available in ranges {set}")));
    }
    with_gateway(ip, range.subnet, range.gateway)
}

fn with_gateway(ip: IpAddr, subnet: IpNet, gateway: IpAddr) -> Result<(IpNet, IpAddr), CniError> {
    let address = IpNet::new(ip, subnet.prefix_len()).map_err(|error| config(error.to_string()))?;
    Ok((address, gateway))
}
