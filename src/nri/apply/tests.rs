//! What becomes of each field of an adjustment, and what is refused.
#![allow(clippy::unwrap_used)]

mod honoured;
mod refused;

use super::*;
use crate::api::*;
use oci::cdi::Registry;
use oci::classes::Classes;
use oci::rlimits::Ceilings;

const SPEC: &str = r#"{
    "ociVersion": "1.2.0",
    "root": {"path": "/root"},
    "annotations": {"a": "1", "b": "2"},
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sleep"], "env": ["A=1", "B=2", "C=3"],
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]},
    "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/a/b", "type": "tmpfs"},
        {"destination": "/z", "type": "tmpfs"}],
    "linux": {
        "cgroupsPath": "/pod/container",
        "rootfsPropagation": "rprivate",
        "namespaces": [{"type": "mount"}, {"type": "network", "path": "/net"}, {"type": "ipc", "path": "/ipc"}],
        "resources": {"devices": [{"allow": false, "type": "a", "access": "rwm"}],
            "memory": {"limit": 100, "swap": 100}, "pids": {"limit": 5}}
    }
}"#;

pub(super) fn spec() -> Spec {
    serde_json::from_str(SPEC).unwrap()
}

#[allow(clippy::needless_pass_by_value, reason = "it is used once")]
pub(super) fn run(adjustment: ContainerAdjustment, native: bool) -> Result<(Spec, Applied), String> {
    let (devices, classes) = (Registry::new(Vec::new()), Classes::default());
    let ceilings = Ceilings::detect(true);
    let context = Context { devices: &devices, classes: &classes, ceilings: &ceilings, native };
    let mut spec = spec();
    let applied = apply(&mut spec, &adjustment, &context);
    applied.map(|applied| (spec, applied)).map_err(|error| {
        assert_eq!(error.kind(), model::ErrorKind::FailedPrecondition);
        model::chain(&error)
    })
}

pub(super) fn linux(adjustment: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(adjustment), ..Default::default() }
}

pub(super) fn limits(resources: LinuxResources) -> ContainerAdjustment {
    linux(LinuxContainerAdjustment { resources: Some(resources), ..Default::default() })
}
