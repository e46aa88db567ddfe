//! Netlink: links, addresses, routes and neighbours, encoded here message by message.
//!
//! A [`Batch`] of messages goes to the kernel in one system call, because a system call costs as much as
//! setting an address does. A [`Socket`] works on the network namespace in which it was made, so that a pod's
//! network is set up without entering it.

mod addr;
mod conntrack;
mod diag;
mod link;
mod mac;
mod message;
mod route;
mod socket;

pub use addr::{Address, AddressInfo, addresses, neighbour_mac};
pub use link::{BridgeLink, Devconf, LinkInfo, OPER_UP, Peer, PortFlags, VethPair, link_info, link_infos};
pub use mac::Mac;
pub use message::{Writer, attr, attrs, read_be32, read_str, read_u32};
pub use route::{RouteInfo, RouteSpec, is_local, output_interface, routes};
pub(crate) use socket::{ACK, CREATE, DUMP, EXCL, REPLACE};
pub use socket::{Batch, Reply, Socket};

use std::net::IpAddr;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// The bytes of an address in network order.
pub fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The address that 4 or 16 bytes in network order are.
pub fn ip_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
