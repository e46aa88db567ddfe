//! What an ADD says it made. The fields are those of version 1.1.0; older forms are converted.

use crate::types::{TypesError, Version};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// An interface that the plugin made or took over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Interface {
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Hardware address; may be empty.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub mac: String,
    /// MTU in bytes; 0 is unsaid (1.1.0).
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub mtu: u32,
    /// The container's network namespace; empty for an interface of the host.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub sandbox: String,
    /// A socket such as that of vhost-user; may be empty (1.1.0).
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub socket_path: String,
    /// The PCI device; may be empty (1.1.0).
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub pci_id: String,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// The interface, as an index of [`CniResult::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "index")]
    pub interface: Option<u32>,
    /// The address with the length of its network's prefix.
    pub address: IpNet,
    /// The default gateway of this network.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_ip")]
    pub gateway: Option<IpAddr>,
}

/// A route in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None`: the gateway of an address of the same family, or none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_ip")]
    pub gw: Option<IpAddr>,
    /// MTU in bytes; 0 is unsaid (1.1.0).
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub mtu: u32,
    /// TCP MSS in bytes; 0 is unsaid (1.1.0).
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub advmss: u32,
    /// Priority, lower first; 0 is unsaid (1.1.0).
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "or_default")]
    pub priority: u32,
    /// Routing table (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope, a number of rtnetlink(7) (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl Route {
    /// A route with a destination and perhaps a next hop.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: 0, advmss: 0, priority: 0, table: None, scope: None }
    }
}

/// Resolver settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers, in order of priority.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub nameservers: Vec<String>,
    /// The local domain; may be empty.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub domain: String,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub search: Vec<String>,
    /// Options.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The result of an ADD. Serde reads and writes the 1.1.0 form; use [`Self::from_value`] and
/// [`Self::to_value`] to talk to plugins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CniResult {
    /// Interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub ips: Vec<IpConfig>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub routes: Vec<Route>,
    /// Resolver settings.
    #[serde(skip_serializing_if = "Dns::is_empty", deserialize_with = "or_default")]
    pub dns: Dns,
}

/// The result of 0.1.0 and 0.2.0.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OldResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<OldIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<OldIp>,
    #[serde(skip_serializing_if = "Dns::is_empty", deserialize_with = "or_default")]
    dns: Dns,
}

#[derive(Debug, Serialize, Deserialize)]
struct OldIp {
    ip: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_ip")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    routes: Vec<Route>,
}

impl CniResult {
    /// Reads a result of the version that it says it is, else of `assumed` (the configuration's).
    ///
    /// # Errors
    /// When it is not a JSON object of that form, the version is unknown, or an address names an
    /// interface that is not there.
    pub fn from_value(value: Value, assumed: Version) -> Result<Self, TypesError> {
        let version = match value.get("cniVersion") {
            None | Some(Value::Null) => assumed,
            Some(Value::String(text)) if text.is_empty() => assumed,
            Some(Value::String(text)) => Version::parse(text)?,
            Some(_) => return Err(TypesError::Field { field: "cniVersion", problem: "not a string" }),
        };
        if !value.is_object() {
            return Err(TypesError::Field { field: "result", problem: "not an object" });
        }
        let decode = |source| TypesError::Json { what: "result", source };
        let result = if version < Version::V0_3_0 {
            Self::from_old(serde_json::from_value(value).map_err(decode)?)
        } else {
            serde_json::from_value(value).map_err(decode)?
        };
        result.check_indices()?;
        Ok(result)
    }

    /// The result in the form of a version. What an older version cannot say is left out.
    ///
    /// # Errors
    /// When the version is older than 0.3.0, which requires an address, and there is none.
    pub fn to_value(&self, version: Version) -> Result<Value, TypesError> {
        if version < Version::V0_3_0 {
            return self.to_old(version);
        }
        let encode = |source| TypesError::Json { what: "result", source };
        let mut value = if version < Version::V1_1_0 {
            serde_json::to_value(self.without_1_1()).map_err(encode)?
        } else {
            serde_json::to_value(self).map_err(encode)?
        };
        if version < Version::V1_0_0
            && let Some(Value::Array(ips)) = value.get_mut("ips")
        {
            for (ip, config) in ips.iter_mut().zip(&self.ips) {
                ip["version"] = json!(if config.address.addr().is_ipv4() { "4" } else { "6" });
            }
        }
        value["cniVersion"] = json!(version.as_str());
        Ok(value)
    }

    /// The first address of each family on a container's interface, in the result's order. Addresses that name no
    /// interface (all of those before CNI 0.3.0) belong to it. Plugins that leave `sandbox` out are understood: then
    /// an interface is the container's by its name alone.
    pub fn addresses_on(&self, ifname: &str) -> Vec<IpAddr> {
        let is_named = |interface: &&Interface| interface.name == ifname;
        let says_where =
            self.interfaces.iter().filter(is_named).any(|interface| !interface.sandbox.is_empty());
        let mut found: Vec<IpAddr> = Vec::with_capacity(2);
        for ip in &self.ips {
            let interface = ip.interface.and_then(|at| self.interfaces.get(usize::try_from(at).ok()?));
            let is_meant =
                interface.is_none_or(|at| is_named(&at) && (!says_where || !at.sandbox.is_empty()));
            let address = ip.address.addr();
            if is_meant && !found.iter().any(|known| known.is_ipv4() == address.is_ipv4()) {
                found.push(address);
            }
        }
        found
    }

    fn without_1_1(&self) -> Self {
        let mut result = self.clone();
        for interface in &mut result.interfaces {
            interface.mtu = 0;
            interface.socket_path.clear();
            interface.pci_id.clear();
        }
        for route in &mut result.routes {
            *route = Route::new(route.dst, route.gw);
        }
        result
    }

    fn from_old(old: OldResult) -> Self {
        let mut result = Self { dns: old.dns, ..Self::default() };
        for ip in [old.ip4, old.ip6].into_iter().flatten() {
            result.ips.push(IpConfig { interface: None, address: ip.ip, gateway: ip.gateway });
            result.routes.extend(ip.routes);
        }
        result
    }

    fn to_old(&self, version: Version) -> Result<Value, TypesError> {
        let family = |is_ipv4: bool| {
            let config = self.ips.iter().find(|ip| ip.address.addr().is_ipv4() == is_ipv4)?;
            let routes = self.routes.iter().filter(|route| route.dst.addr().is_ipv4() == is_ipv4);
            Some(OldIp {
                ip: config.address,
                gateway: config.gateway,
                routes: routes.map(|route| Route::new(route.dst, route.gw)).collect(),
            })
        };
        let old = OldResult { ip4: family(true), ip6: family(false), dns: self.dns.clone() };
        if old.ip4.is_none() && old.ip6.is_none() {
            return Err(TypesError::Conversion { version });
        }
        let value =
            serde_json::to_value(old).map_err(|source| TypesError::Json { what: "result", source })?;
        let mut map = match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        map.insert("cniVersion".to_owned(), json!(version.as_str()));
        Ok(Value::Object(map))
    }

    fn check_indices(&self) -> Result<(), TypesError> {
        for ip in &self.ips {
            if let Some(index) = ip.interface
                && usize::try_from(index).map_or(true, |index| index >= self.interfaces.len())
            {
                let count = self.interfaces.len();
                return Err(TypesError::InterfaceIndex { address: ip.address, index, count });
            }
        }
        Ok(())
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// `null` as the default: Go plugins print it for empty lists.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(source: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// An address, or nothing for the empty text: Go plugins print it for a missing one.
fn optional_ip<'de, D: Deserializer<'de>>(source: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<String> = Option::deserialize(source)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// An index; some plugins print -1 for none.
fn index<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u32>, D::Error> {
    let number: Option<i64> = Option::deserialize(source)?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}
