//! Ranges of addresses, and sets of them.

use crate::failure::config;
use crate::types::CniError;
use ipnet::IpNet;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range as a configuration writes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RangeConf {
    pub(super) subnet: Option<IpNet>,
    pub(super) range_start: Option<IpAddr>,
    pub(super) range_end: Option<IpAddr>,
    pub(super) gateway: Option<IpAddr>,
}

/// A range with everything filled in: start and end belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) subnet: IpNet,
    pub(super) start: IpAddr,
    pub(super) end: IpAddr,
    pub(super) gateway: IpAddr,
}

/// The address as a number, comparable within its family.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(ipv4: bool, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if ipv4 => IpAddr::V4(Ipv4Addr::from(number)),
        _ => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// The address after this one; the last one is its own successor.
pub(super) fn next(ip: IpAddr) -> IpAddr {
    let last = if ip.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
    address(ip.is_ipv4(), number(ip).saturating_add(1).min(last))
}

impl Range {
    /// Fills in what a configuration leaves out, by the rules of the standard plugin: the gateway is the
    /// first address, the range goes from the first address to the last (for IPv4, before the broadcast
    /// address).
    pub(super) fn complete(conf: &RangeConf) -> Result<Self, CniError> {
        let subnet = conf.subnet.ok_or_else(|| config("a range has no subnet"))?;
        if subnet.prefix_len() > subnet.max_prefix_len() - 2 {
            return Err(config(format!("network {subnet} is too small to allocate from")));
        }
        if subnet.addr() != subnet.network() {
            return Err(config(format!(
                "subnet {subnet} has host bits set: the network is {}",
                subnet.trunc()
            )));
        }
        let ipv4 = subnet.addr().is_ipv4();
        let first = next(subnet.network());
        let last = match subnet {
            IpNet::V4(net) => address(true, number(IpAddr::V4(net.broadcast())) - 1),
            IpNet::V6(net) => IpAddr::V6(net.broadcast()),
        };
        let range = Self {
            subnet,
            start: conf.range_start.unwrap_or(first),
            end: conf.range_end.unwrap_or(last),
            gateway: conf.gateway.unwrap_or(first),
        };
        if range.gateway.is_ipv4() != ipv4 {
            return Err(config(format!("gateway {} is not of the family of {subnet}", range.gateway)));
        }
        for (what, ip) in [("rangeStart", range.start), ("rangeEnd", range.end)] {
            if ip.is_ipv4() != ipv4 || !subnet.contains(&ip) {
                return Err(config(format!("{what} {ip} is not in network {subnet}")));
            }
        }
        if number(range.start) > number(range.end) {
            return Err(config(format!("rangeStart {} is after rangeEnd {}", range.start, range.end)));
        }
        Ok(range)
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.start.is_ipv4() && (number(self.start)..=number(self.end)).contains(&number(ip))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.start) || other.contains(self.start)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Ranges of which one address is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RangeSet(pub(super) Vec<Range>);

impl RangeSet {
    pub(super) fn complete(confs: &[RangeConf]) -> Result<Self, CniError> {
        let ranges = confs.iter().map(Range::complete).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = ranges.first() else { return Err(config("a set of ranges is empty")) };
        if ranges.iter().any(|range| range.start.is_ipv4() != first.start.is_ipv4()) {
            return Err(config("a set of ranges mixes address families"));
        }
        for (at, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges[..at].iter().find(|other| other.overlaps(range)) {
                return Err(config(format!("ranges {other} and {range} overlap")));
            }
        }
        Ok(Self(ranges))
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.range_of(ip).is_some()
    }

    pub(super) fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip))
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|one| other.0.iter().any(|two| one.overlaps(two)))
    }

    /// Every address once, beginning after `last` where that is in the set; gateways are left out.
    pub(super) fn addresses_after(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let from = last.and_then(|last| self.0.iter().position(|range| range.contains(last)));
        let (first, begin) = match (from, last) {
            (Some(at), Some(last)) if last != self.0[at].end => (at, next(last)),
            (Some(at), _) => {
                let following = (at + 1) % self.0.len();
                (following, self.0[following].start)
            }
            _ => (0, self.0[0].start),
        };
        let mut at = first;
        let mut cursor = Some(begin);
        let step = move || {
            let ip = cursor?;
            let range = &self.0[at];
            let following = if ip == range.end {
                at = (at + 1) % self.0.len();
                self.0[at].start
            } else {
                next(ip)
            };
            cursor = (following != begin).then_some(following);
            Some((ip, range))
        };
        std::iter::from_fn(step).filter(|(ip, range)| *ip != range.gateway)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
