//! Routes.

use super::message::{attr, attrs, read_u32};
use super::{ACK, Address, Batch, CREATE, DUMP, EXCL, Reply, family, ip_bytes, ip_from_bytes};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;
const TABLE_MAIN: u32 = 254;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;

/// A route to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Destination; a prefix of 0 is the default route.
    pub dst: Address,
    /// Next hop; `None`: on the link.
    pub gateway: Option<IpAddr>,
    /// MTU in bytes; 0 sets none.
    pub mtu: u32,
    /// TCP MSS in bytes; 0 sets none.
    pub advmss: u32,
    /// Priority; 0 is the kernel's choice.
    pub priority: u32,
    /// Table; `None` is the main one.
    pub table: Option<u32>,
    /// Scope; `None`: what the next hop implies.
    pub scope: Option<u8>,
}

/// A route found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteInfo {
    /// Destination.
    pub dst: Address,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// The interface it leaves by.
    pub index: Option<u32>,
    /// Table.
    pub table: u32,
}

impl Batch {
    /// Adds a route by an interface; that it is there already is no error.
    pub fn add_route(&mut self, index: u32, route: &RouteSpec) -> &mut Self {
        let what = format!("{}/{}", route.dst.ip, route.dst.prefix);
        let table = route.table.unwrap_or(TABLE_MAIN);
        let implied = if route.gateway.is_some() { SCOPE_UNIVERSE } else { SCOPE_LINK };
        let scope = route.scope.unwrap_or(if route.dst.ip.is_ipv4() { implied } else { SCOPE_UNIVERSE });
        self.message(("add route", &what), RTM_NEWROUTE, CREATE | EXCL | ACK, |w| {
            let small = u8::try_from(table).unwrap_or(0);
            let kind = TYPE_UNICAST;
            w.raw(&[family(route.dst.ip), route.dst.prefix, 0, 0, small, PROTOCOL_BOOT, scope, kind]);
            w.raw(&[0; 4]);
            if route.dst.prefix > 0 {
                w.attr(RTA_DST, &ip_bytes(route.dst.ip));
            }
            if let Some(gateway) = route.gateway {
                w.attr(RTA_GATEWAY, &ip_bytes(gateway));
            }
            w.attr_u32(RTA_OIF, index);
            w.attr_u32(RTA_TABLE, table);
            if route.priority != 0 {
                w.attr_u32(RTA_PRIORITY, route.priority);
            }
            if route.mtu != 0 || route.advmss != 0 {
                w.nest(RTA_METRICS, |w| {
                    if route.mtu != 0 {
                        w.attr_u32(RTAX_MTU, route.mtu);
                    }
                    if route.advmss != 0 {
                        w.attr_u32(RTAX_ADVMSS, route.advmss);
                    }
                });
            }
        })
        .tolerate(libc::EEXIST)
    }

    /// Asks for every route; [`routes`] reads them.
    pub fn get_routes(&mut self) -> &mut Self {
        self.message(("list routes", ""), RTM_GETROUTE, DUMP, |w| w.raw(&[0; 12]))
    }

    /// Asks by which interface an address is reached; [`output_interface`] reads it.
    pub fn get_route_to(&mut self, ip: IpAddr) -> &mut Self {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let what = ip.to_string();
        self.message(("find route", &what), RTM_GETROUTE, ACK, |w| {
            w.raw(&[family(ip), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            w.attr(RTA_DST, &ip_bytes(ip));
        })
    }
}

/// The interface of the route that [`Batch::get_route_to`] asked for.
pub fn output_interface(replies: &[Reply]) -> Option<u32> {
    let reply = replies.iter().find(|reply| reply.kind == RTM_NEWROUTE)?;
    attr(reply.body.get(12..)?, RTA_OIF).and_then(read_u32)
}

/// Whether the route that [`Batch::get_route_to`] asked for ends at this host.
pub fn is_local(replies: &[Reply]) -> bool {
    let route = replies.iter().find(|reply| reply.kind == RTM_NEWROUTE);
    route.and_then(|route| route.body.get(7)) == Some(&TYPE_LOCAL)
}

/// Every route among the replies.
pub fn routes(replies: &[Reply]) -> Vec<RouteInfo> {
    replies.iter().filter(|reply| reply.kind == RTM_NEWROUTE).filter_map(|r| read_route(&r.body)).collect()
}

fn read_route(body: &[u8]) -> Option<RouteInfo> {
    let unspecified = if *body.first()? == 2 {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let mut route = RouteInfo {
        dst: Address { ip: unspecified, prefix: *body.get(1)? },
        gateway: None,
        index: None,
        table: u32::from(*body.get(4)?),
    };
    for (kind, value) in attrs(body.get(12..)?) {
        match kind {
            RTA_DST => route.dst.ip = ip_from_bytes(value)?,
            RTA_GATEWAY => route.gateway = ip_from_bytes(value),
            RTA_OIF => route.index = read_u32(value),
            RTA_TABLE => route.table = read_u32(value)?,
            _ => {}
        }
    }
    Some(route)
}
