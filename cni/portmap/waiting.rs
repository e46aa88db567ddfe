//! Those who wait for a port of the host that another container has.
//!
//! All are in one set, whose keys hold the address of the host (unspecified for every one of the family), protocol and
//! port, and the container's address and port. IPv4 addresses are mapped into IPv6 ones, and `nft` shows all of it.

use crate::firewall::Queue;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};
use sys::netlink::ip_from_bytes;
use sys::nft::{Data, Element, KeyBytes};

pub(super) const SET: &str = "waiting";

pub(super) const QUEUE: Queue =
    Queue { set: SET, of: &["address_port4", "address_port6", "port4", "port6"], waiting, claim };

/// Bytes of a protocol and a port in a key.
const PORT: usize = 8;
/// Bytes of an address of those who wait.
const ADDRESS: usize = 16;

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(_) => ip,
    }
}

fn waiting(set: &str, element: &Element) -> Element {
    let every = if set.ends_with('4') { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (host, port) = element.key.split_at(element.key.len().saturating_sub(PORT));
    let host = ip_from_bytes(host).unwrap_or(every);
    let target: &[u8] = match &element.data {
        Some(Data::Value(value)) => value,
        _ => &[],
    };
    let (ip, target_port) = target.split_at(target.len().saturating_sub(4));
    let ip = ip_from_bytes(ip).unwrap_or(every);
    let key = KeyBytes::new().ip(mapped(host)).bytes(port).ip(mapped(ip)).bytes(target_port).build();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let since = u32::try_from(now).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
    Element { key, data: Some(Data::Value(since)), comment: element.comment.clone() }
}

fn claim(element: &Element) -> Option<(u32, &'static str, Element)> {
    let Some(Data::Value(since)) = &element.data else { return None };
    let since = u32::from_ne_bytes(*since.first_chunk()?);
    let (host, rest) = element.key.split_at_checked(ADDRESS)?;
    let (port, rest) = rest.split_at_checked(PORT)?;
    let (ip, target_port) = rest.split_at_checked(ADDRESS)?;
    let host = ip_from_bytes(host)?.to_canonical();
    let ip = ip_from_bytes(ip)?.to_canonical();
    let (set, key) = match (host.is_unspecified(), host.is_ipv4()) {
        (true, true) => ("port4", KeyBytes::new()),
        (true, false) => ("port6", KeyBytes::new()),
        (false, true) => ("address_port4", KeyBytes::new().ip(host)),
        (false, false) => ("address_port6", KeyBytes::new().ip(host)),
    };
    let data = Data::Value(KeyBytes::new().ip(ip).bytes(target_port).build());
    let claimed =
        Element { key: key.bytes(port).build(), data: Some(data), comment: element.comment.clone() };
    Some((since, set, claimed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_reads_back() {
        let port = |key: KeyBytes| key.transport(17).port(53).build();
        for (set, host, ip) in [
            ("port4", None, "10.0.0.2"),
            ("port6", None, "fd00::2"),
            ("address_port4", Some("192.0.2.1"), "10.0.0.2"),
            ("address_port6", Some("2001:db8::1"), "fd00::2"),
        ] {
            let host = host.map_or(KeyBytes::new(), |host| KeyBytes::new().ip(host.parse().unwrap()));
            let data = KeyBytes::new().ip(ip.parse().unwrap()).port(5353).build();
            let element =
                Element { key: port(host), data: Some(Data::Value(data)), comment: "c eth0 n".to_owned() };
            let (since, of, claimed) = claim(&waiting(set, &element)).unwrap();
            assert_eq!((of, claimed), (set, element));
            assert!(since > 1_700_000_000);
        }
        let broken = Element { key: vec![1, 2, 3], data: Some(Data::Value(vec![1])), comment: String::new() };
        assert_eq!(claim(&broken), None);
    }
}
