//! From what IPAM gives to what the container gets: gateways and routes.

use super::conf::Bridge;
use crate::failure::config;
use crate::types::{CniError, CniResult, Route};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The container's interface among those of the result.
const CONTAINER_INTERFACE: u32 = 2;

/// Puts IPAM's result into that of the bridge: addresses belong to the container's interface, a bridge that is
/// gateway is the gateway of every address without one (the first address of its network), and default
/// routes are added where the configuration wants them and there is none.
pub(super) fn complete(result: &mut CniResult, given: CniResult, conf: &Bridge) -> Result<(), CniError> {
    if given.ips.is_empty() {
        return Err(config(format!("IPAM plugin {:?} returned no address", conf.ipam)));
    }
    result.ips = given.ips;
    result.routes = given.routes;
    result.dns = given.dns;
    for ip in &mut result.ips {
        ip.interface = Some(CONTAINER_INTERFACE);
        if ip.gateway.is_none() && conf.is_gateway {
            ip.gateway = first_address(ip.address);
        }
        let default = default_of(ip.address.addr().is_ipv4());
        let has = result.routes.iter().any(|route| route.dst == default && route.gw.is_some());
        if conf.is_default_gateway && !has {
            result.routes.push(Route::new(default, ip.gateway));
        }
    }
    Ok(())
}

fn first_address(net: IpNet) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(Ipv4Addr::from).map(IpAddr::V4),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(Ipv6Addr::from).map(IpAddr::V6),
    }
}

fn default_of(ipv4: bool) -> IpNet {
    let unspecified =
        if ipv4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    IpNet::new_assert(unspecified, 0)
}

/// The addresses that the bridge has as gateway.
pub(super) fn gateways(result: &CniResult) -> Result<Vec<IpNet>, CniError> {
    let gateways = result.ips.iter().filter_map(|ip| Some((ip.gateway?, ip.address.prefix_len())));
    gateways
        .map(|(ip, prefix)| IpNet::new(ip, prefix).map_err(|error| config(format!("gateway {ip}: {error}"))))
        .collect()
}

/// The next hop of a route: its own, else the first gateway of its family.
pub(super) fn next_hop(route: &Route, result: &CniResult) -> Option<IpAddr> {
    let ipv4 = route.dst.addr().is_ipv4();
    let gateways = result.ips.iter().filter_map(|ip| ip.gateway);
    route.gw.or_else(|| gateways.into_iter().find(|gateway| gateway.is_ipv4() == ipv4))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::types::{Invocation, IpConfig};
    use serde_json::{Value, json};

    fn conf(value: Value) -> Bridge {
        Bridge::read(&Invocation {
            command: crate::types::Command::Add,
            container_id: "c".into(),
            ifname: "eth0".into(),
            netns: None,
            args: Vec::new(),
            path: Vec::new(),
            conf: crate::types::PluginConfig::try_from(value).unwrap(),
            skip_link_delete: false,
        })
        .unwrap()
    }

    fn given(address: &str) -> CniResult {
        let ip = IpConfig { interface: None, address: address.parse().unwrap(), gateway: None };
        CniResult { ips: vec![ip], ..CniResult::default() }
    }

    #[test]
    fn a_default_gateway_is_computed_and_routed_to_once() {
        let conf = conf(json!({"type": "bridge", "isDefaultGateway": true}));
        for (address, gateway) in [("10.3.7.9/16", "10.3.0.1"), ("fd00:1::9/64", "fd00:1::1")] {
            let mut result = CniResult::default();
            complete(&mut result, given(address), &conf).unwrap();
            assert_eq!(result.ips[0].gateway, Some(gateway.parse().unwrap()));
            assert_eq!(result.routes.len(), 1);
            assert_eq!(result.routes[0].dst.prefix_len(), 0);
            assert_eq!(next_hop(&result.routes[0], &result), Some(gateway.parse().unwrap()));
            let prefix = address.rsplit('/').next().unwrap();
            assert_eq!(gateways(&result).unwrap(), [format!("{gateway}/{prefix}").parse::<IpNet>().unwrap()]);
        }
    }

    #[test]
    fn without_gateway_nothing_is_invented() {
        let conf = conf(json!({"type": "bridge"}));
        let mut result = CniResult::default();
        complete(&mut result, given("10.3.7.9/16"), &conf).unwrap();
        assert_eq!(result.ips[0].gateway, None);
        assert!(result.routes.is_empty() && gateways(&result).unwrap().is_empty());
        assert!(complete(&mut CniResult::default(), CniResult::default(), &conf).is_err());
    }
}
