//! Kernel parameters of a pod: only those that have a value a namespace, and only in namespaces of the pod's own.

use super::{DecodeError, Field, text};
use model::{NamespaceMode, NamespaceOptions};
use std::collections::BTreeMap;

/// Checks the parameters against the pod's namespaces. Names keep the spelling of the request.
pub(crate) fn sysctls(
    field: &Field<'_>,
    sysctls: BTreeMap<String, String>,
    namespaces: &NamespaceOptions,
) -> Result<BTreeMap<String, String>, DecodeError> {
    for (name, value) in &sysctls {
        let field = field.key(name);
        check_name(&field, name)?;
        text::no_nul(&field, value)?;
        // A `+` once let one parameter smuggle in others (CVE-2022-0811); no namespaced one needs it.
        if value.contains(['+', '\n', '\r']) {
            return Err(field.invalid("the value contains `+` or a line break"));
        }
        check_namespace(&field, name, namespaces)?;
    }
    Ok(sysctls)
}

fn check_name(field: &Field<'_>, name: &str) -> Result<(), DecodeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(field.invalid("the name must consist of letters, digits, `.`, `_`, `-` and `/`"));
    }
    if name.split(['.', '/']).any(str::is_empty) {
        return Err(field.invalid("the name has an empty part"));
    }
    Ok(())
}

fn check_namespace(field: &Field<'_>, name: &str, namespaces: &NamespaceOptions) -> Result<(), DecodeError> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let dotted = name.replace('/', ".");
    let (mode, kind) = if dotted.starts_with("net.") {
        (namespaces.network, "network")
    } else if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        (namespaces.ipc, "IPC")
    } else {
        return Err(field.invalid("is not a parameter of a namespace"));
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
            ("net/ipv4/conf/eth0.1/forwarding", "1", &pod, true),
            ("net.ipv4.ip_forward", "1", &host, false),
            ("kernel.shmmax", "1", &pod, true),
            ("kernel.shmmax", "1", &host, false),
            ("fs.mqueue.msg_max", "1", &pod, true),
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
