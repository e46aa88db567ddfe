//! Whether a container may be what it asks for in the pod where it is to be.

use super::{DecodeError, Field};
use model::{ContainerConfig, NamespaceMode, SandboxConfig};

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
    // A silent request means the pod's.
    if asked.namespaces.users.is_some() && asked.namespaces.users != given.namespaces.users {
        return Err(namespaces.child("userns_options").invalid("differs from the pod sandbox's"));
    }
    Ok(())
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
        let map = model::IdMapping { container_id: 0, host_id: 65_536, length: 65_536 };
        container.security.namespaces.users = Some(model::UserNamespace { uids: map, gids: map });
        let error = check(&container, &pod).unwrap_err().to_string();
        assert!(error.contains("userns_options: differs"), "{error}");
        pod.linux.security.namespaces.users = container.security.namespaces.users.clone();
        assert_eq!(check(&container, &pod), Ok(()));
    }
}
