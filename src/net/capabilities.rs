//! The capability arguments of a pod (`runtimeConfig`); each plugin gets those that it declares.

use crate::{PodNetwork, Result, bandwidth};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

/// Every argument that this pod has, by the name of its capability.
///
/// # Errors
/// When a bandwidth annotation is malformed.
pub(crate) fn arguments(pod: &PodNetwork, pod_cidrs: &[IpNet]) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    let ports: Vec<Value> = pod
        .port_mappings
        .iter()
        .filter(|port| port.host_port != 0)
        .map(|port| {
            let mut mapping = json!({
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol.as_str(),
            });
            if let Some(ip) = port.host_ip {
                mapping["hostIP"] = json!(ip);
            }
            mapping
        })
        .collect();
    let mut put = |name: &str, present: bool, value: Value| {
        if present {
            all.insert(name.to_owned(), value);
        }
    };
    put("portMappings", !ports.is_empty(), Value::Array(ports));
    let bandwidth = bandwidth::from_annotations(&pod.annotations)?;
    put("bandwidth", bandwidth.is_some(), bandwidth.unwrap_or_default());
    let ranges: Vec<Value> = pod_cidrs.iter().map(|cidr| json!([{"subnet": cidr}])).collect();
    put("ipRanges", !ranges.is_empty(), Value::Array(ranges));
    if let Some(dns) = &pod.dns {
        let value = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        put("dns", true, value);
    }
    put("cgroupPath", !pod.cgroup_path.is_empty(), json!(pod.cgroup_path));
    put("io.kubernetes.cri.pod-annotations", !pod.annotations.is_empty(), json!(pod.annotations));
    Ok(all)
}
