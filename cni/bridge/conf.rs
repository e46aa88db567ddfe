//! The configuration of the bridge plugin.

use crate::failure::{config, read};
use crate::fields::refused_of_bridge;
use crate::types::{CniError, Dns, Invocation};
use serde::Deserialize;
use serde_json::Value;
use sys::netlink::Mac;

const DEFAULT_BRIDGE: &str = "cni0";
/// `IFNAMSIZ` less the terminator.
const NAME_MAX: usize = 15;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    bridge: Option<String>,
    /// Of Corten's own network alone; not among the fields that others may use.
    owner: Option<String>,
    is_gateway: Option<bool>,
    is_default_gateway: Option<bool>,
    force_address: Option<bool>,
    ip_masq: Option<bool>,
    mtu: Option<i64>,
    hairpin_mode: Option<bool>,
    promisc_mode: Option<bool>,
    macspoofchk: Option<bool>,
    enabledad: Option<bool>,
    disable_container_interface: Option<bool>,
    port_isolation: Option<bool>,
    ipam: Option<Ipam>,
    dns: Option<Dns>,
    args: Option<Args>,
    runtime_config: Option<WithMac>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Option<WithMac>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WithMac {
    mac: Option<String>,
}

/// What the bridge plugin is to do.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) name: String,
    /// Whose bridge it is, kept as its alias; empty: nobody's in particular.
    pub(super) owner: String,
    /// The bridge has the gateways' addresses.
    pub(super) is_gateway: bool,
    /// The container's default routes lead to them.
    pub(super) is_default_gateway: bool,
    /// An address of the bridge that is in the way is removed.
    pub(super) force_address: bool,
    pub(super) ip_masq: bool,
    /// Bytes; 0 is the kernel's choice.
    pub(super) mtu: u32,
    pub(super) hairpin: bool,
    pub(super) promiscuous: bool,
    pub(super) mac_spoof_check: bool,
    /// IPv6 looks for duplicates before it uses an address.
    pub(super) dad: bool,
    /// The container's interface stays down.
    pub(super) container_down: bool,
    pub(super) port_isolation: bool,
    /// The IPAM plugin's type; empty: the interface gets no address.
    pub(super) ipam: String,
    pub(super) dns: Dns,
    /// The hardware address that the container's interface is to have.
    pub(super) mac: Option<Mac>,
}

impl Bridge {
    pub(super) fn read(call: &Invocation) -> Result<Self, CniError> {
        if let Some(refused) = refused_of_bridge(call.conf.as_map()) {
            return Err(CniError::new(CniError::UNSUPPORTED_FIELD, refused.to_string()));
        }
        let raw: Raw = read(call)?;
        let on = |flag: Option<bool>| flag.unwrap_or(false);
        let mac = wanted_mac(call, &raw)?;
        let conf = Self {
            name: raw.bridge.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()),
            owner: raw.owner.unwrap_or_default(),
            is_gateway: on(raw.is_gateway) || on(raw.is_default_gateway),
            is_default_gateway: on(raw.is_default_gateway),
            force_address: on(raw.force_address),
            ip_masq: on(raw.ip_masq),
            mtu: u32::try_from(raw.mtu.unwrap_or(0)).map_err(|_| config("bridge: invalid mtu"))?,
            hairpin: on(raw.hairpin_mode),
            promiscuous: on(raw.promisc_mode),
            mac_spoof_check: on(raw.macspoofchk),
            dad: on(raw.enabledad),
            container_down: on(raw.disable_container_interface),
            port_isolation: on(raw.port_isolation),
            ipam: raw.ipam.and_then(|ipam| ipam.kind).unwrap_or_default(),
            dns: raw.dns.unwrap_or_default(),
            mac,
        };
        if conf.hairpin && conf.promiscuous {
            return Err(config("bridge: hairpinMode and promiscMode exclude one another"));
        }
        if conf.container_down && !conf.ipam.is_empty() {
            return Err(config("bridge: disableContainerInterface excludes ipam"));
        }
        if conf.name.len() > NAME_MAX || conf.name.contains(['/', '\0', ' ']) {
            return Err(config(format!("bridge: invalid bridge name {:?}", conf.name)));
        }
        Ok(conf)
    }
}

/// What DEL and GC need to know. It is read from any configuration, also from one that ADD has refused: a container
/// whose ADD has failed must be removable.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) ipam: String,
    pub(super) ip_masq: bool,
    pub(super) mac_spoof_check: bool,
}

impl Removal {
    pub(super) fn read(call: &Invocation) -> Self {
        let on = |field| !matches!(call.conf.get(field), None | Some(Value::Null | Value::Bool(false)));
        let ipam = call.conf.get("ipam").and_then(|ipam| ipam.get("type")).and_then(Value::as_str);
        Self {
            ipam: ipam.unwrap_or_default().to_owned(),
            ip_masq: on("ipMasq"),
            mac_spoof_check: on("macspoofchk"),
        }
    }
}

/// The capability `mac` wins over `args`, which wins over `CNI_ARGS`, as in the standard plugin.
fn wanted_mac(call: &Invocation, raw: &Raw) -> Result<Option<Mac>, CniError> {
    let runtime = raw.runtime_config.as_ref().and_then(|runtime| runtime.mac.as_deref());
    let args = raw.args.as_ref().and_then(|args| args.cni.as_ref()?.mac.as_deref());
    let wanted = [runtime, args, call.arg("MAC")].into_iter().flatten().find(|mac| !mac.is_empty());
    match wanted {
        None => Ok(None),
        Some(text) => match Mac::parse(text) {
            Some(mac) => Ok(Some(mac)),
            None => Err(config(format!("bridge: invalid hardware address {text:?}"))),
        },
    }
}
