//! The namespaces of a container, in the spec's terms.

use super::inputs::ContainerInputs;
use model::NamespaceMode;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use std::path::PathBuf;

/// Its own mounts always; network, IPC and UTS are the pod's unless the pod uses the host's, and then they are not
/// listed. A cgroup namespace only where it shows something useful (v2) and nothing is to be managed from inside.
pub(super) fn namespaces(inputs: &ContainerInputs<'_>) -> Vec<LinuxNamespace> {
    let of_shim =
        |name: &str| inputs.namespaces.shim_pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/{name}")));
    let pod = &inputs.sandbox.linux.security.namespaces;
    let own = &inputs.container.security;
    let mut namespaces = vec![namespace(LinuxNamespaceType::Mount, None)];
    if pod.users.is_some() {
        // The pod's, of which no process is in sight that another could take it from.
        namespaces.push(namespace(LinuxNamespaceType::User, None));
    }
    match own.namespaces.pid {
        NamespaceMode::Node => {}
        NamespaceMode::Container => namespaces.push(namespace(LinuxNamespaceType::Pid, None)),
        NamespaceMode::Pod | NamespaceMode::Target => {
            let path = inputs.namespaces.pid_of.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/pid")));
            namespaces.push(namespace(LinuxNamespaceType::Pid, path));
        }
    }
    if pod.ipc != NamespaceMode::Node {
        namespaces.push(namespace(LinuxNamespaceType::Ipc, of_shim("ipc")));
    }
    if pod.network != NamespaceMode::Node {
        namespaces.push(namespace(LinuxNamespaceType::Uts, of_shim("uts")));
        let path = inputs.namespaces.network.map(Into::into).or_else(|| of_shim("net"));
        namespaces.push(namespace(LinuxNamespaceType::Network, path));
    }
    if inputs.unified_cgroups && !own.privileged {
        namespaces.push(namespace(LinuxNamespaceType::Cgroup, None));
    }
    namespaces
}

fn namespace(typ: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(typ).set_path(path);
    namespace
}
