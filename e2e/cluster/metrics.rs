//! metrics-server, which `kubectl top` asks.

use crate::cluster::address;
use crate::cluster::component::Component;
use crate::cluster::credentials::Credentials;
use crate::cluster::kubectl::Kubectl;
use crate::error::Error;
use crate::tools;
use serde_json::json;
use std::path::Path;

const PORT: u16 = 4443;
const NAMESPACE: &str = "kube-system";
const NAME: &str = "metrics-server";

/// Starts it on the first node's network, and has the API server pass on to it what it answers.
///
/// # Errors
/// When it is not built, or the API server refuses.
pub(crate) fn start(kubectl: &Kubectl, credentials: &Credentials, logs: &Path) -> Result<Component, Error> {
    let config = credentials.client("admin")?;
    let config = config.display();
    let arguments = vec![
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        format!("--secure-port={PORT}"),
        format!("--cert-dir={}", logs.join(NAME).display()),
        // The shortest that it takes, which must be longer than a request may take.
        "--metric-resolution=10s".to_owned(),
        "--kubelet-request-timeout=5s".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--kubelet-insecure-tls".to_owned(),
        format!("--kubelet-client-certificate={}", credentials.client.certificate.display()),
        format!("--kubelet-client-key={}", credentials.client.key.display()),
    ];
    let server = Component::start(NAME, tools::go_tool(NAME, "cluster")?, arguments, logs)?;
    let meta = json!({"name": NAME, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": NAME}});
    kubectl.within(NAMESPACE).create(&[
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]}}),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address::node(1)], "conditions": {"ready": true}}],
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "service": {"name": NAME, "namespace": NAMESPACE}, "group": "metrics.k8s.io", "version": "v1beta1",
                "insecureSkipTLSVerify": true, "groupPriorityMinimum": 100, "versionPriority": 100,
            },
        }),
    ])?;
    Ok(server)
}
