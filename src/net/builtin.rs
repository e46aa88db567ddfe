//! The network that there is without any configuration: a bridge, addresses of the host, host ports.

use crate::subnets::{BRIDGE, Subnets};
use crate::{NetworkSettings, Result};
use cni::types::{NetworkConfigList, PluginConfig, Version};
use ipnet::IpNet;
use serde_json::{Value, json};

/// The configuration of the built-in network over a set of subnets. It is written in the fields of the
/// standard plugins.
///
/// # Errors
/// None in practice: the configuration's form is fixed.
pub(crate) fn configuration(settings: &NetworkSettings, subnets: &Subnets) -> Result<NetworkConfigList> {
    let number = subnets.number;
    let name = if number == 0 { BRIDGE.to_owned() } else { format!("{BRIDGE}-{number}") };
    let mut bridge = json!({
        "type": "bridge",
        "bridge": format!("{BRIDGE}{number}"),
        "owner": owner(settings),
        "isGateway": true,
        "ipMasq": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": settings.leases(),
            "ranges": ranges(&subnets.nets),
            "routes": routes(&subnets.nets),
        },
    });
    if settings.mtu > 0 {
        bridge["mtu"] = json!(settings.mtu);
    }
    let portmap = json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}});
    Ok(NetworkConfigList {
        name,
        cni_version: Version::LATEST,
        cni_versions: Vec::new(),
        disable_check: false,
        disable_gc: false,
        load_only_inlined_plugins: true,
        plugins: vec![PluginConfig::try_from(bridge)?, PluginConfig::try_from(portmap)?],
    })
}

/// Who says on a bridge that it is his: two daemons of one host would give the same addresses out.
pub(crate) fn owner(settings: &NetworkSettings) -> String {
    const LONGEST: usize = 200;
    let owner = format!("corten:{}", settings.state_dir.display());
    if owner.len() <= LONGEST { owner } else { String::new() }
}

/// Whether a bridge of this name may be one of a built-in network.
pub(crate) fn is_bridge_name(name: &str) -> bool {
    let number = name.strip_prefix(BRIDGE).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

/// One set of ranges a family, so that a pod gets one address of each; the primary family first.
fn ranges(nets: &[IpNet]) -> Value {
    let mut sets: Vec<(bool, Vec<Value>)> = Vec::new();
    for net in nets {
        let family = net.addr().is_ipv4();
        let range = json!({"subnet": net});
        match sets.iter_mut().find(|(known, _)| *known == family) {
            Some((_, set)) => set.push(range),
            None => sets.push((family, vec![range])),
        }
    }
    Value::Array(sets.into_iter().map(|(_, set)| Value::Array(set)).collect())
}

fn routes(nets: &[IpNet]) -> Value {
    let has = |ipv4: bool| nets.iter().any(|net| net.addr().is_ipv4() == ipv4);
    let routes = [("0.0.0.0/0", has(true)), ("::/0", has(false))];
    Value::Array(routes.iter().filter(|(_, wanted)| *wanted).map(|(dst, _)| json!({"dst": dst})).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_families_in_the_order_given() {
        let nets = ["fd00::/64", "10.1.0.0/16", "10.2.0.0/16"].map(|text| text.parse().unwrap());
        let subnets = Subnets { number: 2, nets: nets.to_vec() };
        let list = configuration(&NetworkSettings::default(), &subnets).unwrap();
        assert_eq!(list.name, "corten-2");
        let bridge = &list.plugins[0];
        assert_eq!(bridge.get("bridge"), Some(&json!("corten2")));
        let ipam = bridge.get("ipam").unwrap();
        assert_eq!(
            ipam["ranges"],
            json!([[{"subnet": "fd00::/64"}], [{"subnet": "10.1.0.0/16"}, {"subnet": "10.2.0.0/16"}]])
        );
        assert_eq!(ipam["routes"], json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
        assert!(list.plugins[1].has_capability("portMappings"));
    }
}
