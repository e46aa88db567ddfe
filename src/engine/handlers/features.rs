//! What a runtime says that it can do.

use oci_spec::runtime::Spec;
use serde::Deserialize;

/// What is of interest in the output of a runtime's command `features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// It knows the mount option `rro`.
    pub(crate) recursive_read_only: bool,
    /// It runs containers in user namespaces.
    pub(crate) user_namespaces: bool,
    /// It shows the owners of a mount through a mapping.
    pub(crate) idmapped_mounts: bool,
    /// It moves devices of the host's network into the container's.
    pub(crate) net_devices: bool,
    /// It sets the memory policy of NUMA.
    pub(crate) memory_policy: bool,
    /// It knows the runtime spec since 1.1, which has schedulers and I/O priorities.
    pub(crate) turns: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    oci_version_max: Option<String>,
    #[serde(default)]
    mount_options: Option<Vec<String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    namespaces: Option<Vec<String>>,
    mount_extensions: Option<MountExtensions>,
    net_devices: Option<Extension>,
    memory_policy: Option<MemoryPolicy>,
}

#[derive(Deserialize)]
struct MountExtensions {
    #[serde(default)]
    idmap: Option<Extension>,
}

#[derive(Deserialize)]
struct MemoryPolicy {
    #[serde(default)]
    modes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Extension {
    #[serde(default)]
    enabled: Option<bool>,
}

impl Features {
    /// Pods with user namespaces work, with their volumes.
    pub(crate) fn runs_user_namespaces(self) -> bool {
        self.user_namespaces && self.idmapped_mounts
    }

    /// What of a spec a runtime without it would leave out without a word.
    pub(crate) fn lacking(self, spec: &Spec) -> Option<&'static str> {
        let process = spec.process().as_ref().filter(|_| !self.turns);
        if process.is_some_and(|process| process.scheduler().is_some()) {
            return Some("process.scheduler");
        }
        if process.is_some_and(|process| process.io_priority().is_some()) {
            return Some("process.ioPriority");
        }
        let linux = spec.linux().as_ref()?;
        let devices = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
        if devices && !self.net_devices {
            return Some("linux.netDevices");
        }
        (linux.memory_policy().is_some() && !self.memory_policy).then_some("linux.memoryPolicy")
    }

    /// Reads the document; what cannot be read says nothing, as of a runtime that has no such command.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let Ok(document) = serde_json::from_slice::<Document>(text) else { return Self::default() };
        let has = |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|one| one == name);
        let linux = document.linux.unwrap_or_default();
        let idmap = linux.mount_extensions.and_then(|extensions| extensions.idmap);
        let enabled = |extension: Option<Extension>| extension.and_then(|it| it.enabled).unwrap_or(false);
        let newest = document.oci_version_max.as_deref().and_then(version);
        Self {
            turns: newest.is_some_and(|newest| newest >= (1, 1)),
            recursive_read_only: has(&document.mount_options, "rro"),
            user_namespaces: has(&linux.namespaces, "user"),
            idmapped_mounts: enabled(idmap),
            net_devices: enabled(linux.net_devices),
            memory_policy: linux
                .memory_policy
                .and_then(|policy| policy.modes)
                .is_some_and(|modes| !modes.is_empty()),
        }
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Features;

    #[test]
    fn what_is_not_said_is_not_there() {
        let said = |text: &str| Features::parse(text.as_bytes());
        assert!(said(r#"{"ociVersionMin":"1.0.0","mountOptions":["ro","rro"]}"#).recursive_read_only);
        for nothing in
            [r#"{"mountOptions":["ro"]}"#, r#"{"mountOptions":null,"linux":null}"#, "no such command"]
        {
            assert_eq!(said(nothing), Features::default(), "{nothing}");
        }
        let runc =
            said(r#"{"linux":{"namespaces":["mount","user"],"mountExtensions":{"idmap":{"enabled":true}}}}"#);
        assert!(runc.user_namespaces && runc.idmapped_mounts && !runc.recursive_read_only);
        let older = said(r#"{"linux":{"namespaces":["user"],"mountExtensions":{"idmap":null}}}"#);
        assert!(older.user_namespaces && !older.idmapped_mounts);
    }

    #[test]
    fn what_a_runtime_would_leave_out_is_known() {
        let spec = |linux: &str| -> oci_spec::runtime::Spec {
            serde_json::from_str(&format!(r#"{{"ociVersion":"1.3.0","linux":{linux}}}"#)).unwrap()
        };
        let devices = spec(r#"{"netDevices":{"eth7":{"name":"net1"}}}"#);
        let policy = spec(r#"{"memoryPolicy":{"mode":"MPOL_LOCAL"}}"#);
        let older =
            Features::parse(br#"{"linux":{"netDevices":{"enabled":false},"memoryPolicy":{"modes":null}}}"#);
        assert_eq!(older.lacking(&devices), Some("linux.netDevices"));
        assert_eq!(older.lacking(&policy), Some("linux.memoryPolicy"));
        assert_eq!(older.lacking(&spec("{}")), None);
        let process = |field: &str| -> oci_spec::runtime::Spec {
            let text = format!(
                r#"{{"ociVersion":"1.3.0","process":{{"cwd":"/","user":{{"uid":0,"gid":0}},{field}}},"linux":{{}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let scheduler = process(r#""scheduler":{"policy":"SCHED_BATCH"}"#);
        let priority = process(r#""ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":0}"#);
        for older in [r#"{"ociVersionMax":"1.0.2-dev"}"#, "{}", "no such command"] {
            let older = Features::parse(older.as_bytes());
            assert_eq!(older.lacking(&scheduler), Some("process.scheduler"));
            assert_eq!(older.lacking(&priority), Some("process.ioPriority"));
        }
        let newer = Features::parse(br#"{"ociVersionMax":"1.2.0"}"#);
        assert_eq!((newer.lacking(&scheduler), newer.lacking(&priority)), (None, None));
        let all = r#"{"linux":{"netDevices":{"enabled":true},"memoryPolicy":{"modes":["MPOL_LOCAL"]}}}"#;
        let all = Features::parse(all.as_bytes());
        assert_eq!((all.lacking(&devices), all.lacking(&policy)), (None, None));
    }
}
