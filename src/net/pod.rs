//! What the network needs to know of a pod.

use crate::{NetError, Result};
use cni::types::valid_name;
use model::{DnsConfig, PortMapping};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A pod whose network is to be made, checked or removed. Pods on the host's network never come here.
#[derive(Debug, Clone, Default)]
pub struct PodNetwork {
    /// The sandbox's id, which is the CNI container id.
    pub sandbox_id: String,
    /// The pod's name, for `CNI_ARGS` as the next two.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's uid.
    pub uid: String,
    /// Where the network namespace is pinned; when nothing is there any more, detach frees the rest.
    pub netns: PathBuf,
    /// Host ports (capability `portMappings`); those with a host port of 0 are left out.
    pub port_mappings: Vec<PortMapping>,
    /// Resolver settings (capability `dns`).
    pub dns: Option<DnsConfig>,
    /// The pod's annotations: the two bandwidth ones (capability `bandwidth`), and all of them for plugins
    /// with the capability `io.kubernetes.cri.pod-annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The pod's cgroup (capability `cgroupPath`); may be empty.
    pub cgroup_path: String,
}

impl PodNetwork {
    /// `CNI_ARGS`, as containerd and CRI-O pass them.
    ///
    /// # Errors
    /// When the id cannot be a CNI container id, or a value holds what `CNI_ARGS` cannot carry.
    pub(crate) fn args(&self) -> Result<Vec<(String, String)>> {
        if !valid_name(&self.sandbox_id) {
            return Err(NetError::Argument { field: "sandbox id", value: self.sandbox_id.clone() });
        }
        let pairs = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", &self.namespace),
            ("K8S_POD_NAME", &self.name),
            ("K8S_POD_INFRA_CONTAINER_ID", &self.sandbox_id),
            ("K8S_POD_UID", &self.uid),
        ];
        pairs
            .into_iter()
            .map(|(key, value)| match value.contains([';', '\0']) {
                true => Err(NetError::Argument { field: key, value: value.to_owned() }),
                false => Ok((key.to_owned(), value.to_owned())),
            })
            .collect()
    }
}
