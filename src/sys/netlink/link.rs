//! Links: veth pairs, bridges, and the settings of any interface.

use super::mac::Mac;
use super::message::{Writer, attr, read_str, read_u32};
use super::{ACK, AF_INET, AF_INET6, Batch, CREATE, DUMP, EXCL, Reply};
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;

const IFF_UP: u32 = 0x1;
const IFF_PROMISC: u32 = 0x100;

/// `IF_OPER_UP` of RFC 2863: the link carries traffic.
pub const OPER_UP: u8 = 6;

/// The end of a veth pair that is made in another network namespace.
#[derive(Debug)]
pub struct Peer<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
    /// That namespace.
    pub netns: BorrowedFd<'a>,
}

/// A veth pair: one end here, the other in another network namespace.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// The name of the end here.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
    /// The index of the bridge to which it is attached.
    pub bridge: Option<u32>,
    /// MTU of both ends in bytes; 0 is the kernel's choice.
    pub mtu: u32,
    /// The other end.
    pub peer: Peer<'a>,
}

/// A bridge to be made.
#[derive(Debug)]
pub struct BridgeLink<'a> {
    /// Name.
    pub name: &'a str,
    /// Hardware address; given, so that it does not follow those of the ports.
    pub mac: Mac,
    /// MTU in bytes; 0 is the kernel's choice.
    pub mtu: u32,
    /// Receives every frame.
    pub promiscuous: bool,
}

/// Settings of a bridge port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Frames may leave by the port by which they came.
    pub hairpin: bool,
    /// No frames between isolated ports.
    pub isolated: bool,
}

/// IPv4 settings of one interface (`net.ipv4.conf.<interface>.*`) that netlink can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devconf {
    /// Announces its addresses by gratuitous ARP when it comes up.
    ArpNotify,
    /// Lets 127.0.0.0/8 be routed.
    RouteLocalnet,
}

impl Devconf {
    fn index(self) -> u16 {
        match self {
            Self::ArpNotify => 22,
            Self::RouteLocalnet => 26,
        }
    }
}

fn header(w: &mut Writer, family: u8, index: u32, flags: u32, change: u32) {
    w.raw(&[family, 0, 0, 0]);
    w.raw(&index.to_ne_bytes());
    w.raw(&flags.to_ne_bytes());
    w.raw(&change.to_ne_bytes());
}

/// One queue each way, which is what a veth uses unless it is told otherwise. Said here, it is made so; unsaid,
/// queues for every CPU are made and taken away, and for each end the kernel waits for all CPUs.
fn single_queue(w: &mut Writer) {
    w.attr_u32(IFLA_NUM_TX_QUEUES, 1);
    w.attr_u32(IFLA_NUM_RX_QUEUES, 1);
}

fn name_and_mtu(w: &mut Writer, name: &str, mac: Mac, mtu: u32) {
    w.attr_str(IFLA_IFNAME, name);
    w.attr(IFLA_ADDRESS, &mac.0);
    if mtu != 0 {
        w.attr_u32(IFLA_MTU, mtu);
    }
}

impl Batch {
    /// Makes a veth pair whose end here is attached; both ends are down.
    pub fn create_veth(&mut self, pair: &VethPair<'_>) -> &mut Self {
        self.message(("create veth", pair.name), RTM_NEWLINK, CREATE | EXCL | ACK, |w| {
            header(w, 0, 0, 0, 0);
            name_and_mtu(w, pair.name, pair.mac, pair.mtu);
            single_queue(w);
            if let Some(bridge) = pair.bridge {
                w.attr_u32(IFLA_MASTER, bridge);
            }
            w.nest(IFLA_LINKINFO, |w| {
                w.attr_str(IFLA_INFO_KIND, "veth");
                w.nest(IFLA_INFO_DATA, |w| {
                    w.nest(VETH_INFO_PEER, |w| {
                        header(w, 0, 0, 0, 0);
                        name_and_mtu(w, pair.peer.name, pair.peer.mac, pair.mtu);
                        single_queue(w);
                        w.attr(IFLA_NET_NS_FD, &pair.peer.netns.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        })
    }

    /// Makes a bridge that is up. An existing link of that name is left as it is and is no error.
    pub fn create_bridge(&mut self, bridge: &BridgeLink<'_>) -> &mut Self {
        let promisc = if bridge.promiscuous { IFF_PROMISC } else { 0 };
        self.message(("create bridge", bridge.name), RTM_NEWLINK, CREATE | EXCL | ACK, |w| {
            header(w, 0, 0, IFF_UP | promisc, IFF_UP | promisc);
            name_and_mtu(w, bridge.name, bridge.mac, bridge.mtu);
            w.nest(IFLA_LINKINFO, |w| w.attr_str(IFLA_INFO_KIND, "bridge"));
        })
        .tolerate(libc::EEXIST)
    }

    /// Brings an interface up or down.
    pub fn set_up(&mut self, name: &str, index: u32, up: bool) -> &mut Self {
        self.message(("bring up", name), RTM_NEWLINK, ACK, |w| {
            header(w, 0, index, if up { IFF_UP } else { 0 }, IFF_UP);
        })
    }

    /// Moves an interface into another network namespace, by another name.
    pub fn move_link(
        &mut self,
        (name, index): (&str, u32),
        new_name: &str,
        netns: BorrowedFd<'_>,
    ) -> &mut Self {
        let what = format!("{name} as {new_name}");
        self.message(("move network device", &what), RTM_NEWLINK, ACK, |w| {
            header(w, 0, index, 0, 0);
            w.attr_str(IFLA_IFNAME, new_name);
            w.attr(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        })
    }

    /// Makes an interface promiscuous.
    pub fn set_promiscuous(&mut self, name: &str, index: u32) -> &mut Self {
        self.message(("set promiscuous", name), RTM_NEWLINK, ACK, |w| {
            header(w, 0, index, IFF_PROMISC, IFF_PROMISC);
        })
    }

    /// Sets the hardware address; with [`Devconf::ArpNotify`] the kernel announces the addresses, too.
    pub fn set_mac(&mut self, name: &str, index: u32, mac: Mac) -> &mut Self {
        self.message(("set hardware address", name), RTM_SETLINK, ACK, |w| {
            header(w, 0, index, 0, 0);
            w.attr(IFLA_ADDRESS, &mac.0);
        })
    }

    /// Sets an IPv4 setting of an interface to 1.
    pub fn set_devconf(&mut self, name: &str, index: u32, setting: Devconf) -> &mut Self {
        self.message(("set ipv4 setting", name), RTM_SETLINK, ACK, |w| {
            header(w, 0, index, 0, 0);
            w.nest(IFLA_AF_SPEC, |w| {
                w.nest(u16::from(AF_INET), |w| {
                    w.nest(IFLA_INET_CONF, |w| w.attr_u32(setting.index(), 1));
                });
            });
        })
    }

    /// Sets what a bridge port may do.
    pub fn set_port(&mut self, name: &str, port: PortFlags) -> &mut Self {
        self.message(("set bridge port", name), RTM_NEWLINK, ACK, |w| {
            header(w, 0, 0, 0, 0);
            w.attr_str(IFLA_IFNAME, name);
            w.nest(IFLA_LINKINFO, |w| {
                w.attr_str(IFLA_INFO_SLAVE_KIND, "bridge");
                w.nest(IFLA_INFO_SLAVE_DATA, |w| {
                    w.attr(IFLA_BRPORT_MODE, &[u8::from(port.hairpin)]);
                    w.attr(IFLA_BRPORT_ISOLATED, &[u8::from(port.isolated)]);
                });
            });
        })
    }

    /// Keeps the kernel from giving an interface a link-local IPv6 address when it comes up. A kernel without
    /// IPv6 has none to give.
    pub fn no_link_local(&mut self, name: &str) -> &mut Self {
        const NONE: u8 = 1;
        self.message(("turn off link-local address", name), RTM_SETLINK, ACK, |w| {
            header(w, 0, 0, 0, 0);
            w.attr_str(IFLA_IFNAME, name);
            w.nest(IFLA_AF_SPEC, |w| {
                w.nest(u16::from(AF_INET6), |w| w.attr(IFLA_INET6_ADDR_GEN_MODE, &[NONE]));
            });
        })
        .tolerate(libc::EAFNOSUPPORT)
    }

    /// Brings up an interface that is known by its name only.
    pub fn set_up_by_name(&mut self, name: &str) -> &mut Self {
        self.message(("bring up", name), RTM_NEWLINK, ACK, |w| {
            header(w, 0, 0, IFF_UP, IFF_UP);
            w.attr_str(IFLA_IFNAME, name);
        })
    }

    /// Gives an interface a text for people (`ip link` shows it as alias); 255 bytes are the most, none takes it away.
    pub fn set_alias(&mut self, name: &str, index: u32, alias: &str) -> &mut Self {
        self.message(("set alias", name), RTM_SETLINK, ACK, |w| {
            header(w, 0, index, 0, 0);
            w.attr_str(IFLA_IFALIAS, alias);
        })
    }

    /// The same for an interface that is known by its name only.
    pub fn set_alias_by_name(&mut self, name: &str, alias: &str) -> &mut Self {
        self.message(("set alias", name), RTM_SETLINK, ACK, |w| {
            header(w, 0, 0, 0, 0);
            w.attr_str(IFLA_IFNAME, name);
            w.attr_str(IFLA_IFALIAS, alias);
        })
    }

    /// Asks for an interface by name; [`link_info`] finds it in the replies.
    pub fn get_link(&mut self, name: &str) -> &mut Self {
        self.message(("find link", name), RTM_GETLINK, ACK, |w| {
            header(w, 0, 0, 0, 0);
            w.attr_str(IFLA_IFNAME, name);
        })
    }

    /// Asks for an interface by index.
    pub fn get_link_index(&mut self, index: u32) -> &mut Self {
        self.message(("find link", ""), RTM_GETLINK, ACK, |w| header(w, 0, index, 0, 0))
    }

    /// Asks for every interface.
    pub fn get_links(&mut self) -> &mut Self {
        self.message(("list links", ""), RTM_GETLINK, DUMP, |w| header(w, 0, 0, 0, 0))
    }

    /// The same of those that belong to a bridge, without their counters; of those that come and go meanwhile some may lack.
    pub fn get_ports(&mut self, bridge: u32) -> &mut Self {
        self.message(("list ports", ""), RTM_GETLINK, DUMP, |w| {
            header(w, 0, 0, 0, 0);
            w.attr_u32(IFLA_MASTER, bridge);
            w.attr_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        })
        .tolerate(libc::EINTR)
    }

    /// Removes an interface (and with a veth its other end, which makes the kernel wait ~20 ms).
    pub fn delete_link(&mut self, name: &str) -> &mut Self {
        self.message(("delete link", name), RTM_DELLINK, ACK, |w| {
            header(w, 0, 0, 0, 0);
            w.attr_str(IFLA_IFNAME, name);
        })
    }
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkInfo {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Hardware address, where it has one of 6 bytes.
    pub mac: Option<Mac>,
    /// Its text for people; empty where it has none.
    pub alias: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// How often it was made promiscuous.
    pub promiscuity: u32,
    /// RFC 2863 state; [`OPER_UP`] carries traffic.
    pub operstate: u8,
    /// The index of the bridge it belongs to.
    pub master: Option<u32>,
    /// For a veth: the index of the other end, in its own namespace.
    pub peer: Option<u32>,
    /// `veth`, `bridge`, …; empty for hardware and loopback.
    pub kind: String,
}

/// Every interface among the replies.
pub fn link_infos(replies: &[Reply]) -> Vec<LinkInfo> {
    replies.iter().filter(|reply| reply.kind == RTM_NEWLINK).filter_map(|r| read_link(&r.body)).collect()
}

/// The first interface among the replies.
pub fn link_info(replies: &[Reply]) -> Option<LinkInfo> {
    replies.iter().filter(|reply| reply.kind == RTM_NEWLINK).find_map(|reply| read_link(&reply.body))
}

fn read_link(body: &[u8]) -> Option<LinkInfo> {
    let mut link = LinkInfo {
        index: read_u32(body.get(4..)?)?,
        up: read_u32(body.get(8..)?)? & IFF_UP != 0,
        ..LinkInfo::default()
    };
    for (kind, value) in super::attrs(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = read_str(value),
            IFLA_IFALIAS => link.alias = read_str(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            IFLA_MTU => link.mtu = read_u32(value)?,
            IFLA_MASTER => link.master = read_u32(value),
            IFLA_LINK => link.peer = read_u32(value),
            IFLA_PROMISCUITY => link.promiscuity = read_u32(value)?,
            IFLA_OPERSTATE => link.operstate = value.first().copied().unwrap_or(0),
            IFLA_LINKINFO => link.kind = attr(value, IFLA_INFO_KIND).map(read_str).unwrap_or_default(),
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_read_and_print() {
        let mac = Mac::parse("0A:58:0a:f4:00:01");
        assert_eq!(mac.map(|mac| mac.to_string()).as_deref(), Some("0a:58:0a:f4:00:01"));
        for text in ["", "0a:58:0a:f4:00", "0a:58:0a:f4:00:01:02", "0a:58:0a:f4:00:1", "zz:58:0a:f4:00:01"] {
            assert_eq!(Mac::parse(text), None, "{text}");
        }
        assert_eq!(Mac::local([0xff; 6]).0[0], 0xfe);
    }
}
