//! Which subnets the built-in network has, and which bridge they belong to.
//!
//! Pods that run keep their addresses when the node is given other pod CIDRs, so each set of subnets gets a
//! bridge of its own, for good: the sets are kept in a file in the order in which they appeared.

use crate::journal::make_dir;
use crate::{NetError, NetworkSettings, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use sys::aside::{is_there, set_aside};

/// The names of the built-in network's bridges begin so.
pub(crate) const BRIDGE: &str = "corten";

/// Longer than any file of them.
const LONGEST: u64 = 16 << 20;

/// A set of subnets with its number, which is that of its bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subnets {
    pub(crate) number: usize,
    pub(crate) nets: Vec<IpNet>,
}

/// The sets that there have been.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    sets: Vec<Vec<IpNet>>,
    /// The set that was chosen while nothing was configured.
    #[serde(default)]
    chosen: Option<Vec<IpNet>>,
}

pub(crate) struct SubnetStore {
    path: PathBuf,
    known: Known,
}

impl SubnetStore {
    pub(crate) fn open(settings: &NetworkSettings) -> Result<Self> {
        let dir = &settings.data_dir;
        make_dir(dir)?;
        sys::fs::sweep_temporaries(dir);
        let path = dir.join("subnets.json");
        let read = sys::regular::read(&path, LONGEST);
        let known = match read.and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok(known) => known,
            Err(_) if !is_there(&path) => Known::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the file of subnets is damaged, beginning anew");
                set_aside(&path)?;
                Known::default()
            }
        };
        Ok(Self { path, known })
    }

    /// The subnets to use: the node's pod CIDRs, else the configured ones, else the chosen ones.
    pub(crate) fn select(&mut self, settings: &NetworkSettings, pod_cidrs: &[IpNet]) -> Result<Subnets> {
        let nets = if !pod_cidrs.is_empty() {
            pod_cidrs.to_vec()
        } else if !settings.subnets.is_empty() {
            settings.subnets.clone()
        } else {
            self.chosen(settings.ipv6)
        };
        let nets: Vec<IpNet> = nets.iter().map(IpNet::trunc).collect();
        if let Some(number) = self.known.sets.iter().position(|known| *known == nets) {
            return Ok(Subnets { number, nets });
        }
        self.known.sets.push(nets.clone());
        let encoded = serde_json::to_vec(&self.known).map_err(io::Error::from);
        sys::fs::write_atomic(&self.path, &encoded.map_err(NetError::state("encode", &self.path))?, 0o600)?;
        Ok(Subnets { number: self.known.sets.len() - 1, nets })
    }

    fn chosen(&mut self, ipv6: bool) -> Vec<IpNet> {
        let families = if ipv6 { 2 } else { 1 };
        match &self.known.chosen {
            Some(nets) if nets.len() == families => nets.clone(),
            _ => {
                // Pods of an earlier set may still have its addresses.
                let mut taken = host_routes();
                taken.extend(self.known.sets.iter().flatten());
                let nets = choose(&taken, ipv6);
                self.known.chosen = Some(nets.clone());
                nets
            }
        }
    }
}

/// The first candidates that no route overlaps; when all are taken, the first.
fn choose(routes: &[IpNet], ipv6: bool) -> Vec<IpNet> {
    let is_free = |net: &IpNet| !routes.iter().any(|route| route.contains(net) || net.contains(route));
    let first_free = |candidates: Vec<IpNet>| {
        let free = candidates.iter().find(|net| is_free(net)).or(candidates.first());
        free.copied()
    };
    let tens = (88..128).map(|n| Ipv4Addr::new(10, n, 0, 0));
    let others = (24..32).map(|n| Ipv4Addr::new(172, n, 0, 0));
    let v4 = tens.chain(others).filter_map(|start| Ipv4Net::new(start, 16).ok()).map(IpNet::V4);
    let v6 = (0..64).filter_map(|n| Ipv6Net::new(Ipv6Addr::new(0xfd10, 0x88, n, 0, 0, 0, 0, 0), 64).ok());
    let mut nets: Vec<IpNet> = first_free(v4.collect()).into_iter().collect();
    if ipv6 {
        nets.extend(first_free(v6.map(IpNet::V6).collect()));
    }
    nets
}

/// The destinations of the host's main routing table, but default routes and our own bridges.
fn host_routes() -> Vec<IpNet> {
    let others =
        host_routes_by_interface().into_iter().filter(|(interface, _)| !interface.starts_with(BRIDGE));
    others.map(|(_, route)| route).collect()
}

/// The destinations of the host's main routing table, but default routes, each with its interface.
pub(crate) fn host_routes_by_interface() -> Vec<(String, IpNet)> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut routes: Vec<_> = read("/proc/thread-self/net/route").lines().filter_map(ipv4_route).collect();
    routes.extend(read("/proc/thread-self/net/ipv6_route").lines().filter_map(ipv6_route));
    routes.retain(|(_, route)| route.prefix_len() > 0);
    routes
}

/// A line of /proc/net/route: the interface, the destination and, as the eighth field, the mask, both in
/// hexadecimal and little-endian.
fn ipv4_route(line: &str) -> Option<(String, IpNet)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (interface, destination, mask) = (fields.first()?, fields.get(1)?, fields.get(7)?);
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(|word| Ipv4Addr::from(word.swap_bytes()));
    let net = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
    Some(((*interface).to_owned(), IpNet::V4(net)))
}

/// A line of /proc/net/ipv6_route: the destination, its prefix length in hexadecimal, …, the interface.
fn ipv6_route(line: &str) -> Option<(String, IpNet)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (destination, prefix, interface) = (fields.first()?, fields.get(1)?, fields.last()?);
    let address = Ipv6Addr::from(u128::from_str_radix(destination, 16).ok()?);
    let net = Ipv6Net::new(address, u8::from_str_radix(prefix, 16).ok()?).ok()?;
    Some(((*interface).to_owned(), IpNet::V6(net)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_subnet_that_no_route_overlaps() {
        assert_eq!(choose(&[], true), nets(&["10.88.0.0/16", "fd10:88::/64"]));
        let taken = nets(&["10.88.7.0/24", "10.88.0.0/15", "10.90.1.2/32", "fd10:88::/48"]);
        assert_eq!(choose(&taken, true), nets(&["10.91.0.0/16", "fd10:88:1::/64"]));
        assert_eq!(choose(&nets(&["10.0.0.0/8"]), false), nets(&["172.24.0.0/16"]));
        assert_eq!(choose(&nets(&["10.0.0.0/8", "172.16.0.0/12"]), false), nets(&["10.88.0.0/16"]));
    }

    #[test]
    fn routes_as_the_kernel_prints_them() {
        let line = "eth0\t0010A8C0\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0";
        let route = |interface: &str, net: &str| Some((interface.to_owned(), net.parse().unwrap()));
        assert_eq!(ipv4_route(line), route("eth0", "192.168.16.0/20"));
        assert_eq!(ipv4_route("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask"), None);
        let line = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        assert_eq!(ipv6_route(line), route("eth0", "fd00::/64"));
    }

    #[test]
    fn each_set_keeps_its_number_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let settings = NetworkSettings { data_dir: dir.path().join("data"), ..NetworkSettings::default() };
        let first = SubnetStore::open(&settings).unwrap().select(&settings, &[]).unwrap();
        assert_eq!(first.number, 0);
        let cidrs = nets(&["10.244.1.7/24", "fd00:1::/64"]);
        let mut store = SubnetStore::open(&settings).unwrap();
        let second = store.select(&settings, &cidrs).unwrap();
        assert_eq!(second, Subnets { number: 1, nets: nets(&["10.244.1.0/24", "fd00:1::/64"]) });
        let mut store = SubnetStore::open(&settings).unwrap();
        assert_eq!(store.select(&settings, &[]).unwrap(), first);
        assert_eq!(store.select(&settings, &cidrs).unwrap().number, 1);
        let both = NetworkSettings { ipv6: true, ..settings };
        let third = store.select(&both, &[]).unwrap();
        assert_eq!((third.number, third.nets.len()), (2, 2));
        assert!(!third.nets.contains(&first.nets[0]), "pods of the first set may still be there: {third:?}");
    }
}
