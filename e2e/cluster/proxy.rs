//! kube-proxy of a node, with nftables.

use crate::cluster::component::Component;
use crate::cluster::credentials::Credentials;
use crate::cluster::{address, node};
use crate::error::{Context, Error};
use crate::tools;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Starts it, with its configuration in a directory.
///
/// # Errors
/// When it is not built, or a file cannot be written.
pub(crate) fn start(
    number: u8,
    directory: &Path,
    credentials: &Credentials,
    logs: &Path,
) -> Result<Component, Error> {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "hostnameOverride": node::name(number), "clusterCIDR": address::PODS,
        "clientConnection": {"kubeconfig": credentials.client("proxy")?},
        // The table of connections is the whole machine's.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms"},
    });
    let file = directory.join("kube-proxy.json");
    fs::write(&file, config.to_string()).at("write", &file)?;
    let program = tools::go_tool("kube-proxy", "cluster")?;
    Component::start("kube-proxy", program, vec![format!("--config={}", file.display())], logs)
}
