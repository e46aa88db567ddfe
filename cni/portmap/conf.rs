//! The configuration of portmap.

use crate::failure::{config, read};
use crate::fields::refused_of_portmap;
use crate::types::{CniError, Invocation};
use serde::Deserialize;
use std::net::IpAddr;

/// The number of the last bit of a packet mark.
const LAST_MARK_BIT: i64 = 31;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    snat: Option<bool>,
    masq_all: Option<bool>,
    mark_masq_bit: Option<i64>,
    runtime_config: Option<Runtime>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    port_mappings: Option<Vec<RawMapping>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Its number in an IP header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// One port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) protocol: Protocol,
    pub(super) host_port: u16,
    pub(super) container_port: u16,
    /// The address of the host, which may be unspecified: then every address of that family.
    pub(super) host_ip: Option<IpAddr>,
}

/// What portmap is to do.
#[derive(Debug)]
pub(super) struct PortMap {
    pub(super) mappings: Vec<Mapping>,
    /// Hairpin connections and those from 127.0.0.0/8 get the host's address.
    pub(super) snat: bool,
    /// All connections get it.
    pub(super) masq_all: bool,
}

impl PortMap {
    /// Reads the configuration. `markMasqBit` is checked and needs nothing done: the mark carries a decision
    /// from one iptables chain to another, and with nf_tables there is none to carry.
    pub(super) fn read(call: &Invocation) -> Result<Self, CniError> {
        if let Some(refused) = refused_of_portmap(call.conf.as_map()) {
            return Err(CniError::new(CniError::UNSUPPORTED_FIELD, refused.to_string()));
        }
        let raw: Raw = read(call)?;
        if raw.mark_masq_bit.is_some_and(|bit| !(0..=LAST_MARK_BIT).contains(&bit)) {
            return Err(config("portmap: markMasqBit must be from 0 to 31"));
        }
        let raw_mappings = raw.runtime_config.and_then(|runtime| runtime.port_mappings).unwrap_or_default();
        Ok(Self {
            mappings: raw_mappings.iter().map(mapping).collect::<Result<_, _>>()?,
            snat: raw.snat.unwrap_or(true),
            masq_all: raw.masq_all.unwrap_or(false),
        })
    }
}

impl PortMap {
    /// The mappings that an ADD of this configuration may have made, which may be wrong otherwise; `None` where it names
    /// no ports at all.
    pub(super) fn of_removal(call: &Invocation) -> Option<Self> {
        call.conf.runtime("portMappings").filter(|mappings| !mappings.is_null())?;
        let raw: Raw = read(call).unwrap_or_default();
        let raw_mappings = raw.runtime_config.and_then(|runtime| runtime.port_mappings).unwrap_or_default();
        Some(Self {
            mappings: raw_mappings.iter().filter_map(|raw| mapping(raw).ok()).collect(),
            snat: raw.snat.unwrap_or(true),
            masq_all: raw.masq_all.unwrap_or(false),
        })
    }
}

fn mapping(raw: &RawMapping) -> Result<Mapping, CniError> {
    let port = |what: &str, number: i64| {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        port.ok_or_else(|| config(format!("portmap: invalid {what} {number}")))
    };
    let protocol = Protocol::parse(&raw.protocol)
        .ok_or_else(|| config(format!("portmap: invalid protocol {:?}", raw.protocol)))?;
    let host_ip = match raw.host_ip.as_deref().unwrap_or_default() {
        "" => None,
        text => {
            Some(text.parse().map_err(|_| config(format!("portmap: hostIP {text:?} is not an address")))?)
        }
    };
    Ok(Mapping {
        protocol,
        host_port: port("hostPort", raw.host_port)?,
        container_port: port("containerPort", raw.container_port)?,
        host_ip,
    })
}
