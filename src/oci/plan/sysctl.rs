//! Kernel parameters of a pod: only those that a namespace keeps to itself.

use crate::error::{OciError, OciResult};
use model::{NamespaceMode, SandboxConfig};
use std::collections::BTreeMap;
use wire::plan::Bytes;

const FIELD: &str = "linux.sysctls";

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

/// Groups are those of the user namespace, in which the usual range does not exist.
const GROUPS: &[u8] = b"net.ipv4.ping_group_range";

/// Which namespaces the pod has of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) ipc: bool,
    pub(super) network: bool,
    pub(super) uts: bool,
}

impl Own {
    pub(super) fn of(config: &SandboxConfig) -> Self {
        let namespaces = &config.linux.security.namespaces;
        let network = namespaces.network != NamespaceMode::Node;
        Self { ipc: namespaces.ipc != NamespaceMode::Node, network, uts: network }
    }

    /// Whether a parameter, spelt with dots, is one of these namespaces.
    fn keeps(self, name: &[u8]) -> bool {
        let is_ipc = IPC.iter().any(|known| known.as_bytes() == name) || name.starts_with(b"fs.mqueue.");
        if is_ipc {
            self.ipc
        } else if is_network(name) {
            self.network
        } else {
            name == b"kernel.domainname" && self.uts
        }
    }
}

/// Names, spelt with dots, and values.
pub type Sysctls = Vec<(Bytes, Bytes)>;

/// The parameters of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSysctls {
    /// Those that are written when the namespaces are there.
    pub first: Sysctls,
    /// Those that a request makes of the network: they may be of an interface, and so are written when it is attached.
    pub attached: Sysctls,
}

/// A pod's parameters: those of its request, and the defaults of which it says nothing.
///
/// # Errors
/// [`OciError::Invalid`] for a malformed name or value, and for a parameter that would change the host.
pub fn pod_sysctls(config: &SandboxConfig, defaults: &Sysctls) -> OciResult<PodSysctls> {
    let own = Own::of(config);
    let requested = plain(config.linux.sysctls.iter())?;
    if let Some((name, _)) = requested.iter().find(|(name, _)| !own.keeps(name)) {
        let name = String::from_utf8_lossy(name);
        let reason = format!("{name:?} is not a parameter of the pod's own namespaces");
        return Err(OciError::invalid(FIELD, reason));
    }
    let has_users = config.linux.security.namespaces.users.is_some();
    let silent = defaults.iter().filter(|(name, _)| {
        own.keeps(name)
            && !(has_users && name == GROUPS)
            && !requested.iter().any(|(requested, _)| requested == name)
    });
    let mut first: Sysctls = silent.cloned().collect();
    let (attached, others): (Sysctls, Sysctls) =
        requested.into_iter().partition(|(name, _)| is_network(name));
    first.extend(others);
    Ok(PodSysctls { first, attached })
}

/// What pods get that do not say otherwise; one without a value is left as the kernel has it.
///
/// # Errors
/// [`OciError::Invalid`] as [`pod_sysctls`], with the name of the setting.
pub fn default_sysctls(field: &str, settings: &BTreeMap<String, String>) -> OciResult<Sysctls> {
    let all = Own { ipc: true, network: true, uts: true };
    let set = settings.iter().filter(|(_, value)| !value.is_empty());
    let checked = plain(set).map_err(|error| match error {
        OciError::Invalid { reason, .. } => OciError::invalid(field, reason),
        other => other,
    })?;
    match checked.iter().find(|(name, _)| !all.keeps(name)) {
        None => Ok(checked),
        Some((name, _)) => {
            let name = String::from_utf8_lossy(name);
            Err(OciError::invalid(field, format!("{name:?} is not a parameter of namespaces")))
        }
    }
}

fn is_network(name: &[u8]) -> bool {
    name.starts_with(b"net.")
}

/// Names with dots, and values, as given but checked. Slashes are another spelling of dots; a name that mixes them
/// (an interface with a dot in its name) cannot be told apart and is refused, as is the `+` by which a list of
/// parameters would be smuggled into one.
pub(super) fn plain<'a>(all: impl Iterator<Item = (&'a String, &'a String)>) -> OciResult<Sysctls> {
    let mut checked = Vec::new();
    for (name, value) in all {
        let refuse = |why: &str| Err(OciError::invalid(FIELD, format!("{name:?} {why}")));
        if name.contains('/') && name.contains('.') {
            return refuse("mixes dots and slashes");
        }
        let dotted = name.replace('/', ".");
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !dotted.chars().all(known) || dotted.split('.').any(str::is_empty) || !dotted.contains('.') {
            return refuse("is not the name of a kernel parameter");
        }
        if value.chars().any(|c| c == '+' || (c.is_control() && c != '\t')) {
            return refuse("has a value with a plus sign or a control character");
        }
        checked.push((dotted.into_bytes(), value.clone().into_bytes()));
    }
    checked.sort();
    Ok(checked)
}
