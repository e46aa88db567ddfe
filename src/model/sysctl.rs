//! Kernel parameters that a namespace keeps to itself.

use crate::value::{ValueError, ValueResult};
use std::collections::BTreeMap;

/// Parameters of the IPC namespace.
const IPC: [&str; 12] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg_next_id",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.auto_msgmni",
];

text_value!(
    /// The name of a kernel parameter, with dots: slashes are another spelling of them. One with both is refused: whether
    /// a dot is part of an interface's name could not be told.
    SysctlName,
    name
);
text_value!(
    /// The value of a kernel parameter. Without a plus sign, by which one parameter has smuggled in others
    /// (CVE-2022-0811), and without control characters but the tab.
    SysctlValue,
    value
);

/// Parameters and their values.
pub type Sysctls = BTreeMap<SysctlName, SysctlValue>;

/// What keeps a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SysctlNamespace {
    /// The network namespace.
    Network,
    /// The IPC namespace.
    Ipc,
    /// The UTS namespace.
    Uts,
}

impl SysctlName {
    /// The kind of namespace whose parameter it is; `None`: it is of the whole host.
    #[must_use]
    pub fn namespace(&self) -> Option<SysctlNamespace> {
        let name = self.as_str();
        if name.starts_with("net.") {
            Some(SysctlNamespace::Network)
        } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
            Some(SysctlNamespace::Ipc)
        } else {
            (name == "kernel.domainname").then_some(SysctlNamespace::Uts)
        }
    }
}

fn name(text: String) -> ValueResult<String> {
    if text.contains('/') && text.contains('.') {
        return Err(ValueError::MixedSeparators { text });
    }
    let dotted = text.replace('/', ".");
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !dotted.chars().all(known) || dotted.split('.').any(str::is_empty) || !dotted.contains('.') {
        return Err(ValueError::Form { text, form: "name of a kernel parameter" });
    }
    Ok(dotted)
}

fn value(text: String) -> ValueResult<String> {
    if text.chars().any(|c| c == '+' || (c.is_control() && c != '\t')) {
        return Err(ValueError::Form { text, form: "value of a kernel parameter of a namespace" });
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_with_dots_and_lead_nowhere_else() {
        let dotted = |text: &str| SysctlName::new(text).map(String::from);
        for text in ["net.ipv4.tcp_syncookies", "net/ipv4/tcp_syncookies"] {
            assert_eq!(dotted(text).unwrap(), "net.ipv4.tcp_syncookies");
        }
        for text in
            ["", "net", "net..x", ".net.x", "net/../x", "../net", "net.a+b", "net.a b", "net.a=b", "net.a\0"]
        {
            assert!(dotted(text).is_err(), "{text:?}");
        }
        let mixed = dotted("net/ipv4/conf/eth0.1/forwarding").unwrap_err().to_string();
        assert!(mixed.ends_with("mixes dots and slashes"), "{mixed}");
    }

    #[test]
    fn values_hold_one_value() {
        for text in ["", "1", "1024\t65000", "|/bin/x"] {
            assert!(SysctlValue::new(text).is_ok(), "{text:?}");
        }
        for text in ["1+kernel.core_pattern=|x", "1\n2", "1\r", "\0"] {
            assert!(SysctlValue::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_namespaces_is_the_hosts() {
        let namespace = |text: &str| SysctlName::new(text).unwrap().namespace();
        for (text, kept) in [
            ("net.ipv4.ip_forward", Some(SysctlNamespace::Network)),
            ("kernel.shmmax", Some(SysctlNamespace::Ipc)),
            ("fs.mqueue.msg_max", Some(SysctlNamespace::Ipc)),
            ("kernel.domainname", Some(SysctlNamespace::Uts)),
            ("kernel.core_pattern", None),
            ("vm.swappiness", None),
            ("network.x", None),
        ] {
            assert_eq!(namespace(text), kept, "{text}");
        }
    }
}
