//! Ports of the host that a pod has asked for and somebody else has, too: the plugins say nothing about them.

use crate::attachment::pod_of;
use crate::journal::Journal;
use crate::network::Network;
use crate::{Attachment, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The capability of plugins that map ports, and what they are given for it.
const CAPABILITY: &str = "portMappings";
/// The states of sockets that take what comes from anybody, as the kernel prints them.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

/// A port of the host, on one of its addresses or on all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostPort {
    host_port: u16,
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: Option<IpAddr>,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip.filter(|ip| !ip.is_unspecified()) {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}/{}", self.host_port, self.protocol),
            Some(ip) => write!(f, "{ip}:{}/{}", self.host_port, self.protocol),
            None => write!(f, "{}/{}", self.host_port, self.protocol),
        }
    }
}

impl HostPort {
    fn meets(&self, other: &Self) -> bool {
        let addresses_meet = match (self.host_ip, other.host_ip) {
            (None, _) | (_, None) => true,
            (Some(one), Some(two)) => {
                let one_has_all = one.is_unspecified() || two.is_unspecified();
                one == two || one_has_all && one.is_ipv4() == two.is_ipv4()
            }
        };
        self.host_port == other.host_port
            && self.protocol.eq_ignore_ascii_case(&other.protocol)
            && addresses_meet
    }
}

fn ports_of(attachment: &Attachment) -> Vec<HostPort> {
    let mapped = attachment.config.plugins.iter().any(|plugin| plugin.has_capability(CAPABILITY));
    let given = attachment.capability_args.get(CAPABILITY).filter(|_| mapped).cloned();
    given.and_then(|given| serde_json::from_value(given).ok()).unwrap_or_default()
}

/// Who else has a port that a pod has asked for.
#[derive(Debug, PartialEq, Eq)]
enum Shared {
    Pod { port: String, pod: String, id: String },
    Program { port: String, listener: String },
}

impl Network {
    /// Tells of ports of an attached pod that others have, without keeping the pod waiting.
    pub(crate) fn tell_shared_ports(&self, attachment: &Attachment) {
        let ports = ports_of(attachment);
        if ports.is_empty() {
            return;
        }
        let (journal, id) = (self.journal.clone(), attachment.container_id.clone());
        let pod = pod_of(&attachment.args);
        tokio::spawn(async move {
            let own = id.clone();
            let look = move || shared(&journal, &own, &ports);
            let Ok(Ok(found)) = tokio::task::spawn_blocking(look).await else { return };
            for shared in found {
                match shared {
                    Shared::Pod { port, pod: other, id: other_id } => tracing::warn!(
                        pod,
                        id,
                        port,
                        other,
                        other_id,
                        "two pods want the same port of the host: the one that came first has it until it goes"
                    ),
                    Shared::Program { port, listener } => tracing::warn!(
                        pod,
                        id,
                        port,
                        listener,
                        "a pod has a port of the host on which a program of the host listens: what comes to it goes to the pod"
                    ),
                }
            }
        });
    }
}

fn shared(journal: &Journal, own: &str, ports: &[HostPort]) -> Result<Vec<Shared>> {
    let mut found = Vec::new();
    for other in journal.all()?.iter().filter(|other| other.container_id != own) {
        let theirs = ports_of(other);
        let theirs = by_number(&theirs);
        for port in ports.iter().filter(|port| theirs.of(port).any(|their| port.meets(their))) {
            let (pod, id) = (pod_of(&other.args), other.container_id.clone());
            found.push(Shared::Pod { port: port.to_string(), pod, id });
        }
    }
    let own_ports = by_number(ports);
    let protocols = [("tcp", LISTENING), ("udp", UNCONNECTED)];
    for (protocol, state) in protocols.iter().filter(|(name, _)| ports.iter().any(|port| port.is_of(name))) {
        for table in [(*protocol).to_owned(), format!("{protocol}6")] {
            for listener in listeners(&table, protocol, state) {
                let own = own_ports.of(&listener).filter(|port| port.meets(&listener));
                found.extend(
                    own.map(|port| Shared::Program {
                        port: port.to_string(),
                        listener: listener.to_string(),
                    }),
                );
            }
        }
    }
    Ok(found)
}

/// Ports by their numbers: a pod may have tens of thousands.
struct ByNumber<'a>(HashMap<u16, Vec<&'a HostPort>>);

fn by_number(ports: &[HostPort]) -> ByNumber<'_> {
    let mut numbers: HashMap<u16, Vec<&HostPort>> = HashMap::new();
    for port in ports {
        numbers.entry(port.host_port).or_default().push(port);
    }
    ByNumber(numbers)
}

impl<'a> ByNumber<'a> {
    /// Those with the number of another.
    fn of(&self, port: &HostPort) -> impl Iterator<Item = &'a HostPort> {
        self.0.get(&port.host_port).into_iter().flatten().copied()
    }
}

impl HostPort {
    fn is_of(&self, protocol: &str) -> bool {
        self.protocol.eq_ignore_ascii_case(protocol)
    }
}

/// The sockets of a table of /proc/net in one state. Those that listen come first in the table of TCP, which may be long.
fn listeners(table: &str, protocol: &str, state: &str) -> Vec<HostPort> {
    let Ok(file) = File::open(format!("/proc/thread-self/net/{table}")) else { return Vec::new() };
    let lines = BufReader::new(file).lines().skip(1).map_while(std::io::Result::ok);
    let sockets = lines.map_while(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, found) = (fields.get(1)?, fields.get(3)?);
        let is_wanted = *found == state;
        (is_wanted || state != LISTENING).then(|| is_wanted.then(|| socket(address, protocol)).flatten())
    });
    sockets.flatten().collect()
}

/// `0100007F:1F90`: an address in words of the host's order, and a port.
fn socket(text: &str, protocol: &str) -> Option<HostPort> {
    let (address, port) = text.split_once(':')?;
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    // The socket of every IPv6 address is that of every IPv4 address, too, mostly.
    let every = ip.is_unspecified() && ip.is_ipv6();
    let host_ip = (!every).then_some(ip);
    let host_port = u16::from_str_radix(port, 16).ok()?;
    Some(HostPort { host_port, protocol: protocol.to_owned(), host_ip })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sockets_as_the_kernel_prints_them() {
        let shown = |text| socket(text, "tcp").map(|port| port.to_string());
        assert_eq!(shown("0100007F:1F90").as_deref(), Some("127.0.0.1:8080/tcp"));
        assert_eq!(shown("00000000000000000000000001000000:0050").as_deref(), Some("[::1]:80/tcp"));
        assert_eq!(shown("0000000000000000FFFF00000100007F:0050").as_deref(), Some("127.0.0.1:80/tcp"));
        assert_eq!(shown("00000000000000000000000000000000:0050").as_deref(), Some("80/tcp"));
        assert_eq!(shown("local_address"), None);
    }

    #[test]
    fn ports_meet_where_one_packet_could_be_for_both() {
        let port = |ip: &str, protocol: &str| HostPort {
            host_port: 53,
            protocol: protocol.to_owned(),
            host_ip: ip.parse().ok(),
        };
        let any = port("", "TCP");
        for (other, meets) in [
            (port("", "tcp"), true),
            (port("127.0.0.1", "tcp"), true),
            (port("::1", "tcp"), true),
            (port("", "udp"), false),
            (HostPort { host_port: 54, ..any.clone() }, false),
        ] {
            assert_eq!((any.meets(&other), other.meets(&any)), (meets, meets), "{other}");
        }
        let one = port("192.0.2.1", "tcp");
        assert!(one.meets(&port("0.0.0.0", "tcp")) && one.meets(&one));
        assert!(!one.meets(&port("192.0.2.2", "tcp")) && !one.meets(&port("::", "tcp")));
    }
}
