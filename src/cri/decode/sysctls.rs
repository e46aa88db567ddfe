//! Kernel parameters of a pod: only those that have a value a namespace, and only in namespaces of the pod's own.

use super::{DecodeError, Field};
use model::{NamespaceMode, NamespaceOptions, SysctlName, SysctlNamespace, SysctlValue, Sysctls};
use std::collections::BTreeMap;

/// Checks the parameters against the pod's namespaces.
pub(crate) fn sysctls(
    field: &Field<'_>,
    sysctls: BTreeMap<String, String>,
    namespaces: &NamespaceOptions,
) -> Result<Sysctls, DecodeError> {
    let decode = |(name, value): (String, String)| {
        let field = field.key(&name);
        let parsed = SysctlName::new(name.as_str()).map_err(field.value())?;
        let value = SysctlValue::new(value).map_err(field.value())?;
        check_namespace(&field, &parsed, namespaces)?;
        Ok((parsed, value))
    };
    sysctls.into_iter().map(decode).collect()
}

fn check_namespace(
    field: &Field<'_>,
    name: &SysctlName,
    namespaces: &NamespaceOptions,
) -> Result<(), DecodeError> {
    let (mode, kind) = match name.namespace() {
        Some(SysctlNamespace::Network) => (namespaces.network, "network"),
        Some(SysctlNamespace::Ipc) => (namespaces.ipc, "IPC"),
        // It follows the network.
        Some(SysctlNamespace::Uts) => (namespaces.network, "UTS"),
        None => return Err(field.invalid("is not a parameter of a namespace")),
    };
    if mode == NamespaceMode::Node {
        return Err(field.invalid(format!("would change the host, whose {kind} namespace the pod shares")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_the_pods_own_namespaces() {
        let pod = NamespaceOptions::default();
        let host = NamespaceOptions {
            network: NamespaceMode::Node,
            ipc: NamespaceMode::Node,
            ..NamespaceOptions::default()
        };
        let table = [
            ("net.ipv4.ip_unprivileged_port_start", "0", &pod, true),
            ("net/ipv4/tcp_syncookies", "1", &pod, true),
            ("net/ipv4/conf/eth0.1/forwarding", "1", &pod, false),
            ("net.ipv4.ip_forward", "1", &host, false),
            ("kernel.shmmax", "1", &pod, true),
            ("kernel.shmmax", "1", &host, false),
            ("fs.mqueue.msg_max", "1", &pod, true),
            ("kernel.domainname", "x", &pod, true),
            ("kernel.domainname", "x", &host, false),
            ("kernel.core_pattern", "|/bin/x", &pod, false),
            ("vm.swappiness", "1", &pod, false),
            ("net.ipv4+kernel", "1", &pod, false),
            ("net.ipv4.ip_forward", "1+kernel.core_pattern=x", &pod, false),
            ("net/../kernel/core_pattern", "x", &pod, false),
            ("net..x", "1", &pod, false),
            ("", "1", &pod, false),
        ];
        for (name, value, namespaces, accepted) in table {
            let map = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let result = sysctls(&Field::root("sysctls"), map, namespaces);
            assert_eq!(result.is_ok(), accepted, "{name}={value}: {result:?}");
        }
    }
}
