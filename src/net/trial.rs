//! What a look at the host's files tells of the network that pods would get, without a daemon.

use crate::conf::{ConfDir, Loaded};
use crate::subnets::host_routes_by_interface;
use crate::{Network, NetworkSettings, builtin};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use sys::netlink::{Batch, Socket, link_infos};

/// The network that would be in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// The file that it is from; empty for the built-in network.
    pub path: PathBuf,
    /// The types of its plugins.
    pub plugins: Vec<String>,
    /// The bridge that it makes, where it is a bridge network.
    pub bridge: Option<String>,
    /// The subnets out of which it gives addresses on this host.
    pub subnets: Vec<IpNet>,
}

impl Chosen {
    fn of(loaded: &Loaded) -> Self {
        let plugins = &loaded.list.plugins;
        let bridge = plugins.iter().find(|plugin| plugin.plugin_type() == "bridge");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        Self {
            name: loaded.list.name.clone(),
            path: loaded.path.clone(),
            plugins: plugins.iter().map(|plugin| plugin.plugin_type().to_owned()).collect(),
            bridge: bridge.map(|bridge| text(bridge.get("bridge")).unwrap_or_else(|| "cni0".to_owned())),
            subnets: plugins.iter().filter_map(|plugin| plugin.get("ipam")).flat_map(subnets).collect(),
        }
    }
}

impl Network {
    /// The configuration in force.
    pub fn in_force(&self) -> Option<Chosen> {
        self.loaded().map(|loaded| Chosen::of(&loaded))
    }
}

impl NetworkSettings {
    /// The first valid configuration by name; `None` where there is none.
    pub fn chosen(&self) -> Option<Chosen> {
        let chosen = ConfDir::new(self.conf_dir.clone()).scan().ok()?.chosen?;
        Some(Chosen::of(&chosen))
    }

    /// Which of the subnets of the network that would be in force somebody else on this host has a route for.
    pub fn overlaps(&self) -> Vec<String> {
        let Some(chosen) = self.chosen() else { return Vec::new() };
        let routes = host_routes_by_interface();
        let mut found = Vec::new();
        for subnet in &chosen.subnets {
            let others = routes.iter().filter(|(interface, route)| {
                Some(interface) != chosen.bridge.as_ref()
                    && (route.contains(subnet) || subnet.contains(route))
                    // Routes to single pods of other plugins are how those work.
                    && route.prefix_len() < route.max_prefix_len()
            });
            found.extend(others.map(|(interface, route)| {
                format!("{subnet} of {} overlaps {route} on {interface}", chosen.path.display())
            }));
        }
        found
    }

    /// Bridges of built-in networks of other daemons: whose each is, as far as it says.
    pub fn foreign_bridges(&self) -> Vec<String> {
        let own = builtin::owner(self);
        let others = bridges().filter(|(_, owner)| !owner.is_empty() && *owner != own);
        others.map(|(name, owner)| format!("{name} ({owner})")).collect()
    }

    /// Bridges of built-in networks that say they belong to the daemon of this state directory.
    pub fn own_bridges(&self) -> Vec<String> {
        let own = builtin::owner(self);
        bridges().filter(|(_, owner)| !owner.is_empty() && *owner == own).map(|(name, _)| name).collect()
    }
}

/// The tables of packet rules that are there; none where the kernel cannot be asked.
pub fn tables() -> Vec<&'static str> {
    cni::tables().unwrap_or_default()
}

/// Removes the tables of packet rules in which no pod of anybody has an entry any more.
///
/// # Errors
/// What the kernel refuses.
pub fn remove_empty_tables() -> Result<(), String> {
    cni::remove_empty_tables().map_err(|error| error.msg)
}

/// Bridges that may be those of built-in networks, each with what it says of whose it is.
fn bridges() -> impl Iterator<Item = (String, String)> {
    let mut batch = Batch::new();
    batch.get_links();
    let replies = Socket::route().and_then(|socket| socket.run(&mut batch)).unwrap_or_default();
    let links = link_infos(&replies).into_iter();
    links
        .filter(|link| link.kind == "bridge" && builtin::is_bridge_name(&link.name))
        .map(|link| (link.name, link.alias))
}

/// The subnets of an IPAM section of host-local's, in either form.
fn subnets(ipam: &Value) -> Vec<IpNet> {
    let mut found: Vec<&Value> = ipam.get("subnet").into_iter().collect();
    let sets = ipam.get("ranges").and_then(Value::as_array).into_iter().flatten();
    found.extend(sets.filter_map(Value::as_array).flatten().filter_map(|range| range.get("subnet")));
    found.iter().filter_map(|subnet| subnet.as_str()?.parse().ok()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_network_that_would_be_in_force_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let settings = NetworkSettings { conf_dir: dir.path().into(), ..NetworkSettings::default() };
        assert_eq!(settings.chosen(), None);
        let text = r#"{"cniVersion": "1.0.0", "name": "podnet", "plugins": [{"type": "bridge", "bridge": "pods7",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.64.0.0/16"}], [{"subnet": "fd10:64::/64"}]]}},
            {"type": "portmap"}]}"#;
        std::fs::write(dir.path().join("10-a.conflist"), text).unwrap();
        let chosen = settings.chosen().unwrap();
        assert_eq!((chosen.name.as_str(), chosen.bridge.as_deref()), ("podnet", Some("pods7")));
        assert_eq!(chosen.plugins, ["bridge", "portmap"]);
        assert_eq!(chosen.subnets, ["10.64.0.0/16", "fd10:64::/64"].map(|net| net.parse::<IpNet>().unwrap()));
    }
}
