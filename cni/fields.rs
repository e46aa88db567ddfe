//! Which configurations the built-in plugins carry out in full.

use crate::host_local;
use crate::types::PluginConfig;
use serde_json::{Map, Value};
use std::fmt;

/// What of a configuration the built-in plugin of that type does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// The plugin's type.
    pub plugin: String,
    /// The path of the field, such as `ipam.ranges`.
    pub field: String,
    /// Why it is not done.
    pub reason: &'static str,
    /// The key that may be meant, where it is none.
    pub meant: Option<&'static str>,
}

impl UnknownField {
    /// Whether it is a key that the plugin does not have, which nobody may have; otherwise its value is not done.
    pub fn is_unknown(&self) -> bool {
        self.reason == UNKNOWN
    }
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "built-in plugin {}: {}: {}", self.plugin, self.field, self.reason)
    }
}

impl std::error::Error for UnknownField {}

const UNKNOWN: &str = "unknown field";

/// What every plugin's configuration may hold beside its own fields.
const COMMON: &[&str] = &[
    "cniVersion",
    "name",
    "type",
    "args",
    "capabilities",
    "runtimeConfig",
    "prevResult",
    "ipam",
    "dns",
    "cni.dev/attachments",
    "cni.dev/valid-attachments",
];

const BRIDGE: &[&str] = &[
    "bridge",
    "isGateway",
    "isDefaultGateway",
    "forceAddress",
    "ipMasq",
    "ipMasqBackend",
    "mtu",
    "hairpinMode",
    "promiscMode",
    "vlan",
    "vlanTrunk",
    "preserveDefaultVlan",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
    "portIsolation",
];
const PORTMAP: &[&str] =
    &["snat", "masqAll", "markMasqBit", "backend", "externalSetMarkChain", "conditionsV4", "conditionsV6"];
const IPAM: &[&str] = &[
    "type",
    "name",
    "routes",
    "dataDir",
    "resolvConf",
    "ranges",
    "subnet",
    "rangeStart",
    "rangeEnd",
    "gateway",
];

/// Whether the built-in plugin of the configuration's type does everything that the configuration asks
/// for: it knows every field, and does not refuse any value. IPAM plugins other than host-local are
/// executed, so their fields are theirs.
///
/// # Errors
/// The first field that it does not do.
pub fn understands(conf: &PluginConfig) -> Result<(), UnknownField> {
    let map = conf.as_map();
    let plugin = conf.plugin_type();
    let (fields, capabilities): (&[&'static str], &[&str]) = match plugin {
        "bridge" => (BRIDGE, &["mac", "ips", "ipRanges"]),
        "host-local" => (&[], &["ips", "ipRanges"]),
        "portmap" => (PORTMAP, &["portMappings", "snat"]),
        "loopback" => (&[], &[]),
        _ => return Err(unknown(plugin, "type", "no built-in plugin has this type")),
    };
    known(plugin, "", map, &[COMMON, fields])?;
    if let Some(declared) = map.get("capabilities").and_then(Value::as_object) {
        let wanted = declared.iter().filter(|(_, on)| on.as_bool().unwrap_or(true));
        for (name, _) in wanted {
            if !capabilities.contains(&name.as_str()) {
                return Err(unknown(plugin, &format!("capabilities.{name}"), UNKNOWN));
            }
        }
    }
    match plugin {
        "bridge" => refused_of_bridge(map).map_or(Ok(()), Err)?,
        "portmap" => refused_of_portmap(map).map_or(Ok(()), Err)?,
        _ => {}
    }
    match map.get("ipam").and_then(Value::as_object) {
        Some(ipam) if ipam.get("type").and_then(Value::as_str) == Some(host_local::TYPE) => {
            known(plugin, "ipam.", ipam, &[IPAM])
        }
        _ => Ok(()),
    }
}

fn known(
    plugin: &str,
    prefix: &str,
    map: &Map<String, Value>,
    known: &[&[&'static str]],
) -> Result<(), UnknownField> {
    match map.keys().find(|key| !known.iter().any(|fields| fields.contains(&key.as_str()))) {
        None => Ok(()),
        Some(field) => {
            let all = known.iter().copied().flatten();
            let meant = all.copied().find(|key| letters(key) == letters(field));
            Err(UnknownField { meant, ..unknown(plugin, &format!("{prefix}{field}"), UNKNOWN) })
        }
    }
}

/// By which keys are alike that differ in the order or in the case of their letters.
fn letters(key: &str) -> Vec<u8> {
    let mut letters = key.to_ascii_lowercase().into_bytes();
    letters.sort_unstable();
    letters
}

fn unknown(plugin: &str, field: &str, reason: &'static str) -> UnknownField {
    UnknownField { plugin: plugin.to_owned(), field: field.to_owned(), reason, meant: None }
}

/// The first field of a bridge's configuration whose value is not done.
pub(crate) fn refused_of_bridge(map: &Map<String, Value>) -> Option<UnknownField> {
    let refuse = |field, reason| Some(unknown("bridge", field, reason));
    if map.get("vlan").is_some_and(|vlan| !vlan.is_null() && vlan.as_i64() != Some(0)) {
        return refuse("vlan", "vlan filtering is not supported");
    }
    if map.get("vlanTrunk").is_some_and(|trunk| !is_empty(trunk)) {
        return refuse("vlanTrunk", "vlan filtering is not supported");
    }
    if map.get("ipMasqBackend").is_some_and(|backend| !is_empty(backend) && backend != "nftables") {
        return refuse("ipMasqBackend", "only nftables is supported");
    }
    None
}

/// The first field of a portmap's configuration whose value is not done.
pub(crate) fn refused_of_portmap(map: &Map<String, Value>) -> Option<UnknownField> {
    let refuse = |field, reason| Some(unknown("portmap", field, reason));
    if map.get("backend").is_some_and(|backend| !is_empty(backend) && backend != "nftables") {
        return refuse("backend", "only nftables is supported");
    }
    if map.get("externalSetMarkChain").is_some_and(|chain| !is_empty(chain)) {
        return refuse("externalSetMarkChain", "a chain of iptables; only nftables is supported");
    }
    for field in ["conditionsV4", "conditionsV6"] {
        if map.get(field).is_some_and(|conditions| !is_empty(conditions)) {
            return refuse(field, "further conditions are not supported");
        }
    }
    None
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field_of(conf: Value) -> Option<String> {
        understands(&PluginConfig::try_from(conf).unwrap()).err().map(|unknown| unknown.field)
    }

    #[test]
    fn known_configurations_pass() {
        for conf in [
            json!({"type": "bridge", "bridge": "b", "ipMasq": true, "vlan": 0, "vlanTrunk": null,
                "ipam": {"type": "host-local", "ranges": [], "routes": []}, "capabilities": {"mac": true}}),
            json!({"type": "bridge", "ipMasqBackend": "nftables", "ipam": {"type": "dhcp", "x": 1}}),
            json!({"type": "bridge", "capabilities": {"bandwidth": false}}),
            json!({"type": "portmap", "snat": true, "conditionsV4": [], "capabilities": {"portMappings": true}}),
            json!({"type": "loopback", "cniVersion": "1.1.0", "name": "lo"}),
        ] {
            assert_eq!(field_of(conf.clone()), None, "{conf}");
        }
    }

    #[test]
    fn what_may_be_meant_is_named() {
        for (conf, meant) in [
            (json!({"type": "bridge", "isGateWay": true}), Some("isGateway")),
            (json!({"type": "bridge", "brigde": "b"}), Some("bridge")),
            (json!({"type": "bridge", "ipam": {"type": "host-local", "datadir": "/d"}}), Some("dataDir")),
            (json!({"type": "bridge", "new": 1}), None),
        ] {
            let unknown = understands(&PluginConfig::try_from(conf).unwrap()).unwrap_err();
            assert_eq!((unknown.meant, unknown.is_unknown()), (meant, true), "{unknown}");
        }
        let vlan = understands(&PluginConfig::try_from(json!({"type": "bridge", "vlan": 5})).unwrap());
        assert!(!vlan.unwrap_err().is_unknown());
    }

    #[test]
    fn what_is_not_done_is_named() {
        for (conf, field) in [
            (json!({"type": "macvlan"}), "type"),
            (json!({"type": "bridge", "vlan": 7}), "vlan"),
            (json!({"type": "bridge", "vlanTrunk": [{"id": 1}]}), "vlanTrunk"),
            (json!({"type": "bridge", "ipMasqBackend": "iptables"}), "ipMasqBackend"),
            (json!({"type": "bridge", "new": 1}), "new"),
            (json!({"type": "bridge", "capabilities": {"bandwidth": true}}), "capabilities.bandwidth"),
            (json!({"type": "bridge", "ipam": {"type": "host-local", "new": 1}}), "ipam.new"),
            (json!({"type": "portmap", "backend": "iptables"}), "backend"),
            (json!({"type": "portmap", "conditionsV6": ["a"]}), "conditionsV6"),
            (json!({"type": "portmap", "externalSetMarkChain": "KUBE"}), "externalSetMarkChain"),
        ] {
            assert_eq!(field_of(conf.clone()).as_deref(), Some(field), "{conf}");
        }
    }
}
