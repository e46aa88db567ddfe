//! The kubelet of a node.

use crate::cluster::component::Component;
use crate::cluster::credentials::Credentials;
use crate::cluster::{Options, address, node};
use crate::error::{Context, Error};
use crate::ground::KUBELET;
use crate::tools;
use crate::world::World;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Where static pods lie.
pub(crate) fn manifests() -> &'static Path {
    Path::new("/var/lib/kubelet/manifests")
}

/// Where more of its configuration may lie.
fn drop_ins() -> &'static Path {
    Path::new("/var/lib/kubelet/conf.d")
}

/// Starts it on a world's runtime.
///
/// # Errors
/// When it is not built, or a file cannot be written.
pub(crate) fn start(
    number: u8,
    world: &World,
    credentials: &Credentials,
    options: &Options,
    logs: &Path,
) -> Result<Component, Error> {
    let root = Path::new(KUBELET);
    for directory in [manifests(), drop_ins()] {
        fs::create_dir_all(directory).at("create", directory)?;
    }
    let resolv = root.join("resolv.conf");
    fs::write(&resolv, "").at("write", &resolv)?;
    let mut config = config(number, world, credentials, &resolv);
    if let (Some(config), Some(more)) = (config.as_object_mut(), options.kubelet.as_object()) {
        config.extend(more.clone());
    }
    let file = root.join("config.json");
    fs::write(&file, config.to_string()).at("write", &file)?;
    let name = node::name(number);
    let arguments = vec![
        format!("--config={}", file.display()),
        format!("--config-dir={}", drop_ins().display()),
        format!("--root-dir={}", root.display()),
        format!("--cert-dir={}", root.join("pki").display()),
        format!("--kubeconfig={}", credentials.client(&name)?.display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", address::node(number)),
        "--v=2".to_owned(),
    ];
    let environment = options.bus.iter().map(|bus| ("DBUS_SYSTEM_BUS_ADDRESS", bus.clone())).collect();
    let program = tools::go_tool("kubelet", "cluster")?;
    Component::start_with("kubelet", program, arguments, environment, logs)
}

/// A small node: no swap, and no limits that a busy machine would reach.
fn config(number: u8, world: &World, credentials: &Credentials, resolv: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address::node(number), "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": false},
            "x509": {"clientCAFile": credentials.authority},
        },
        // Whoever has a certificate of this cluster's authority: the API server.
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [address::DNS], "clusterDomain": "cluster.local", "resolvConf": resolv,
        "containerRuntimeEndpoint": format!("unix://{}", world.daemon.place().socket.display()),
        "staticPodPath": manifests(), "fileCheckFrequency": "1s",
        "podLogsDir": world.logs, "volumePluginDir": Path::new(KUBELET).join("plugins-by-exec"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": world.isolation.cgroup_parent(), "enforceNodeAllocatable": [],
        "failCgroupV1": false, "failSwapOn": false, "makeIPTablesUtilChains": false, "maxPods": 250,
        "evictionHard": {"memory.available": "10Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "serializeImagePulls": false,
        "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 100, "kubeAPIBurst": 200,
    })
}
