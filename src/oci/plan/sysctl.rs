//! Kernel parameters of a pod: only those that a namespace keeps to itself.

use crate::error::{OciError, OciResult};
use model::{NamespaceMode, SandboxConfig, SysctlName, SysctlNamespace, SysctlValue, ValueError};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use wire::plan::Bytes;

const FIELD: &str = "linux.sysctls";

/// Groups are those of the user namespace, in which the usual range does not exist.
const GROUPS: &str = "net.ipv4.ping_group_range";

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

    /// Whether a parameter is one of these namespaces.
    fn keeps(self, name: &SysctlName) -> bool {
        name.namespace().is_some_and(|kind| match kind {
            SysctlNamespace::Ipc => self.ipc,
            SysctlNamespace::Network => self.network,
            SysctlNamespace::Uts => self.uts,
        })
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
pub fn pod_sysctls(config: &SandboxConfig, defaults: &model::Sysctls) -> PodSysctls {
    let own = Own::of(config);
    let has_users = config.linux.security.namespaces.users.is_some();
    let requested = &config.linux.sysctls;
    let silent = defaults.iter().filter(|(name, _)| {
        own.keeps(name) && !(has_users && name.as_str() == GROUPS) && !requested.contains_key(*name)
    });
    let is_network = |name: &SysctlName| name.namespace() == Some(SysctlNamespace::Network);
    let (attached, others): (Vec<_>, Vec<_>) = requested.iter().partition(|(name, _)| is_network(name));
    PodSysctls {
        first: silent.chain(others).map(plain).collect(),
        attached: attached.into_iter().map(plain).collect(),
    }
}

/// What pods get that do not say otherwise; one without a value is left as the kernel has it.
///
/// # Errors
/// [`OciError::Invalid`] with the name of the setting, for what is no parameter of a namespace.
pub fn default_sysctls(field: &str, settings: &BTreeMap<String, String>) -> OciResult<model::Sysctls> {
    let all = Own { ipc: true, network: true, uts: true };
    let mut defaults = model::Sysctls::new();
    for (name, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
        let (name, value) = parse(field, name, value)?;
        if !all.keeps(&name) {
            let reason = format!("{:?} is not a parameter of namespaces", name.as_str());
            return Err(OciError::invalid(field, reason));
        }
        defaults.insert(name, value);
    }
    Ok(defaults)
}

/// Those of a spec, which may be of any kind.
pub(super) fn of_spec(spec: &Spec) -> OciResult<Sysctls> {
    let linux = spec.linux().as_ref();
    let all = linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten();
    let parsed = all.map(|(name, value)| parse(FIELD, name, value)).collect::<OciResult<model::Sysctls>>()?;
    Ok(parsed.iter().map(plain).collect())
}

fn parse(field: &str, name: &str, value: &str) -> OciResult<(SysctlName, SysctlValue)> {
    let refuse = |error: ValueError| OciError::invalid(field, error.to_string());
    let of_it = |error: ValueError| OciError::invalid(field, format!("{name:?}: {error}"));
    Ok((SysctlName::new(name).map_err(refuse)?, SysctlValue::new(value).map_err(of_it)?))
}

/// As the kernel takes them.
fn plain((name, value): (&SysctlName, &SysctlValue)) -> (Bytes, Bytes) {
    (name.as_str().into(), value.as_str().into())
}
