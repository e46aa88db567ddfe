//! The addresses of a cluster: none that other networks of a host are likely to have.

use std::net::Ipv4Addr;

/// The bridge of the first node, to which the others have a link.
pub(crate) const BRIDGE: &str = "nodes0";
/// The network of all pods.
pub(crate) const PODS: &str = "10.214.0.0/16";
/// The network of Services.
pub(crate) const SERVICES: &str = "10.215.0.0/16";
/// The Service of the API server.
pub(crate) const API: Ipv4Addr = Ipv4Addr::new(10, 215, 0, 1);
/// The Service of CoreDNS.
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(10, 215, 0, 10);
/// Where the API server listens.
pub(crate) const API_PORT: u16 = 6443;

/// The address of a node.
pub(crate) fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 0, number)
}

/// The network of a node's pods.
pub(crate) fn pods(number: u8) -> String {
    format!("10.214.{number}.0/24")
}
