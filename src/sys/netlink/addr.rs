//! Addresses of interfaces, and entries of the neighbour table.

use super::mac::Mac;
use super::message::{Writer, attr, attrs, read_u32};
use super::{ACK, Batch, CREATE, DUMP, EXCL, REPLACE, Reply, family, ip_bytes, ip_from_bytes};
use std::net::IpAddr;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u8 = 0x02;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_PERMANENT: u32 = 0x80;
const SCOPE_UNIVERSE: u8 = 0;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NTF_MASTER: u8 = 0x04;

/// An address of an interface with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
}

/// An address found on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressInfo {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: Address,
    /// IPv6: the search for duplicates is still under way.
    pub tentative: bool,
    /// IPv6: another host has this address.
    pub duplicate: bool,
    /// Somebody has given it for good, and for all the world.
    pub lasting: bool,
}

fn header(w: &mut Writer, address: Address, flags: u8, index: u32) {
    w.raw(&[family(address.ip), address.prefix, flags, 0]);
    w.raw(&index.to_ne_bytes());
}

impl Batch {
    /// Adds an address; that it is there already is no error. With `dad`, IPv6 looks for duplicates first,
    /// which makes the address unusable for a second.
    pub fn add_address(&mut self, name: &str, index: u32, address: Address, dad: bool) -> &mut Self {
        let what = format!("{}/{} on {name}", address.ip, address.prefix);
        let flags = if address.ip.is_ipv6() && !dad { IFA_F_NODAD } else { 0 };
        self.message(("add address", &what), RTM_NEWADDR, CREATE | EXCL | ACK, |w| {
            header(w, address, flags, index);
            let bytes = ip_bytes(address.ip);
            w.attr(IFA_LOCAL, &bytes);
            w.attr(IFA_ADDRESS, &bytes);
            if let Some(broadcast) = broadcast(address) {
                w.attr(IFA_BROADCAST, &broadcast);
            }
        })
        .tolerate(libc::EEXIST)
    }

    /// Removes an address.
    pub fn delete_address(&mut self, name: &str, index: u32, address: Address) -> &mut Self {
        let what = format!("{}/{} on {name}", address.ip, address.prefix);
        self.message(("delete address", &what), RTM_DELADDR, ACK, |w| {
            header(w, address, 0, index);
            w.attr(IFA_LOCAL, &ip_bytes(address.ip));
        })
    }

    /// Asks for the addresses of every interface; [`addresses`] reads them.
    pub fn get_addresses(&mut self) -> &mut Self {
        self.message(("list addresses", ""), RTM_GETADDR, DUMP, |w| w.raw(&[0; 8]))
    }

    /// Tells the neighbour table of an interface where an address is now. The entry is to be confirmed at
    /// its first use, so a wrong one does no harm.
    pub fn set_neighbour(&mut self, index: u32, ip: IpAddr, mac: Mac) -> &mut Self {
        let what = ip.to_string();
        self.message(("set neighbour", &what), RTM_NEWNEIGH, CREATE | REPLACE | ACK, |w| {
            w.raw(&[family(ip), 0, 0, 0]);
            w.raw(&index.to_ne_bytes());
            w.raw(&NUD_STALE.to_ne_bytes());
            w.raw(&[0, 0]);
            w.attr(NDA_DST, &ip_bytes(ip));
            w.attr(NDA_LLADDR, &mac.0);
        })
    }

    /// Asks what the neighbour table of an interface knows of an address; [`neighbour_mac`] reads it. Not to know it is no
    /// failure.
    pub fn get_neighbour(&mut self, index: u32, ip: IpAddr) -> &mut Self {
        let what = ip.to_string();
        self.message(("find neighbour", &what), RTM_GETNEIGH, ACK, |w| {
            w.raw(&[family(ip), 0, 0, 0]);
            w.raw(&index.to_ne_bytes());
            w.raw(&[0; 4]);
            w.attr(NDA_DST, &ip_bytes(ip));
        })
        .tolerate(libc::ENOENT)
    }

    /// Tells a bridge behind which of its ports a hardware address is, as if it had been heard there.
    pub fn set_forwarding(&mut self, port: u32, mac: Mac) -> &mut Self {
        self.message(("set forwarding entry", ""), RTM_NEWNEIGH, CREATE | REPLACE | ACK, |w| {
            w.raw(&[u8::try_from(libc::AF_BRIDGE).unwrap_or(0), 0, 0, 0]);
            w.raw(&port.to_ne_bytes());
            w.raw(&NUD_REACHABLE.to_ne_bytes());
            w.raw(&[NTF_MASTER, 0]);
            w.attr(NDA_LLADDR, &mac.0);
        })
    }
}

/// The hardware address of the neighbour that [`Batch::get_neighbour`] asked for.
pub fn neighbour_mac(replies: &[Reply]) -> Option<Mac> {
    let reply = replies.iter().find(|reply| reply.kind == RTM_NEWNEIGH)?;
    attr(reply.body.get(12..)?, NDA_LLADDR)?.try_into().ok().map(Mac)
}

fn broadcast(address: Address) -> Option<[u8; 4]> {
    match address.ip {
        IpAddr::V4(ip) if address.prefix < 31 => {
            let host = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
            Some((u32::from(ip) | host).to_be_bytes())
        }
        _ => None,
    }
}

/// Every address among the replies.
pub fn addresses(replies: &[Reply]) -> Vec<AddressInfo> {
    replies.iter().filter(|reply| reply.kind == RTM_NEWADDR).filter_map(|r| read_address(&r.body)).collect()
}

fn read_address(body: &[u8]) -> Option<AddressInfo> {
    let (prefix, mut flags, scope) = (*body.get(1)?, u32::from(*body.get(2)?), *body.get(3)?);
    let index = read_u32(body.get(4..)?)?;
    let (mut local, mut remote) = (None, None);
    for (kind, value) in attrs(body.get(8..)?) {
        match kind {
            IFA_LOCAL => local = ip_from_bytes(value),
            IFA_ADDRESS => remote = ip_from_bytes(value),
            IFA_FLAGS => flags = read_u32(value)?,
            _ => {}
        }
    }
    Some(AddressInfo {
        index,
        address: Address { ip: local.or(remote)?, prefix },
        tentative: flags & IFA_F_TENTATIVE != 0,
        duplicate: flags & IFA_F_DADFAILED != 0,
        lasting: flags & IFA_F_PERMANENT != 0 && scope == SCOPE_UNIVERSE,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_networks_have_a_broadcast_address() {
        let of = |ip: &str, prefix| broadcast(Address { ip: ip.parse().unwrap(), prefix });
        assert_eq!(of("10.1.2.3", 16), Some([10, 1, 255, 255]));
        assert_eq!(of("10.1.2.3", 0), Some([255, 255, 255, 255]));
        assert_eq!(of("10.1.2.3", 31), None);
        assert_eq!(of("fd00::1", 64), None);
    }
}
