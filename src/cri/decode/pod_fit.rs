//! Whether a container may be what it asks for in the pod where it is to be.

use super::security::NO_HOST_PIDS;
use super::{DecodeError, Field};
use model::{ContainerConfig, NamespaceMode, Propagation, SandboxConfig};

/// Checks a container against its sandbox: it cannot have more of the host than the pod was made with.
pub(crate) fn check(container: &ContainerConfig, pod: &SandboxConfig) -> Result<(), DecodeError> {
    let config = Field::root("config");
    let linux = config.child("linux");
    let field = linux.child("security_context");
    let (asked, given) = (&container.security, &pod.linux.security);
    if asked.privileged && !given.privileged {
        return Err(field.child("privileged").invalid("the pod sandbox is not privileged"));
    }
    let namespaces = field.child("namespace_options");
    for (name, asked, given) in [
        ("network", asked.namespaces.network, given.namespaces.network),
        ("ipc", asked.namespaces.ipc, given.namespaces.ipc),
    ] {
        // POD is what a silent request says too: then it is the pod's, whichever that is.
        if asked == NamespaceMode::Node && given != NamespaceMode::Node {
            return Err(namespaces.child(name).invalid("the pod sandbox has a namespace of its own"));
        }
    }
    if asked.namespaces.pid == NamespaceMode::Node && given.namespaces.pid != NamespaceMode::Node {
        return Err(namespaces
            .child("pid")
            .invalid("the pod sandbox was made without the host's PID namespace"));
    }
    // A silent request means the pod's.
    let (users, theirs) = (&asked.namespaces.users, &given.namespaces.users);
    if users.is_some() && users != theirs || asked.namespaces.node_users && theirs.is_some() {
        return Err(namespaces.child("userns_options").invalid("differs from the pod sandbox's"));
    }
    if theirs.is_none() {
        return Ok(());
    }
    if asked.namespaces.pid == NamespaceMode::Node {
        return Err(namespaces.child("pid").invalid(NO_HOST_PIDS));
    }
    // The kernel makes what a mount namespace of another user namespace shares with its origin one-way.
    match container.mounts.iter().position(|mount| mount.propagation == Propagation::Bidirectional) {
        None => Ok(()),
        Some(index) => Err(config.child("mounts").item(index).child("propagation").invalid(
            "PROPAGATION_BIDIRECTIONAL does not go with a user namespace of the pod's own: its mounts reach no node",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_no_more_of_the_host_than_its_pod() {
        let mut container = ContainerConfig::default();
        let mut pod = SandboxConfig::default();
        assert_eq!(check(&container, &pod), Ok(()));
        container.security.privileged = true;
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.starts_with("config.linux.security_context.privileged: "), "{error}");
        pod.linux.security.privileged = true;
        assert_eq!(check(&container, &pod), Ok(()));
        container.security.namespaces.network = NamespaceMode::Node;
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.starts_with("config.linux.security_context.namespace_options.network: "), "{error}");
        pod.linux.security.namespaces.network = NamespaceMode::Node;
        assert_eq!(check(&container, &pod), Ok(()));
        container.security.namespaces.network = NamespaceMode::Pod;
        assert_eq!(check(&container, &pod), Ok(()));
        container.security.namespaces.pid = NamespaceMode::Node;
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.starts_with("config.linux.security_context.namespace_options.pid: "), "{error}");
        pod.linux.security.namespaces.pid = NamespaceMode::Node;
        assert_eq!(check(&container, &pod), Ok(()));
        (container.security.namespaces.pid, pod.linux.security.namespaces.pid) = Default::default();
        let map = model::IdMapping { container_id: 0, host_id: 65_536, length: 65_536 };
        container.security.namespaces.users = Some(model::UserNamespace { uids: map, gids: map });
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.contains("userns_options: differs"), "{error}");
        pod.linux.security.namespaces.users = container.security.namespaces.users.clone();
        assert_eq!(check(&container, &pod), Ok(()));
        container.security.namespaces.users = None;
        assert_eq!(check(&container, &pod), Ok(()), "silent means the pod's");
        container.security.namespaces.node_users = true;
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.contains("userns_options: differs"), "{error}");
        pod.linux.security.namespaces.users = None;
        assert_eq!(check(&container, &pod), Ok(()));
    }

    #[test]
    fn what_the_kernel_keeps_from_a_user_namespace_is_refused() {
        let map = model::IdMapping { container_id: 0, host_id: 65_536, length: 65_536 };
        let mut pod = SandboxConfig::default();
        pod.linux.security.namespaces.users = Some(model::UserNamespace { uids: map, gids: map });
        let mut container = ContainerConfig::default();
        container.security.namespaces.pid = NamespaceMode::Node;
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.starts_with("config.linux.security_context.namespace_options.pid: "), "{error}");
        container.security.namespaces.pid = NamespaceMode::Container;
        container.mounts = [Propagation::HostToContainer, Propagation::Bidirectional]
            .map(|propagation| model::Mount { propagation, ..model::Mount::default() })
            .to_vec();
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.starts_with("config.mounts[1].propagation: "), "{error}");
        container.mounts.pop();
        assert_eq!(check(&container, &pod), Ok(()));
    }
}
