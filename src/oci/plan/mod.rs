//! A spec as the few system calls that the shim makes of it.

mod devices;
mod hooks;
mod ids;
mod mounts;
mod process;
mod sandbox;
mod schedule;
mod sysctl;
#[cfg(test)]
pub(crate) mod tests;

pub use hooks::{hook_list, hooks};
pub use ids::{of_pod as ids_of_pod, of_spec as ids_of_spec};
pub use process::process;
pub use sandbox::{SandboxInputs, sandbox};
pub use sysctl::{PodSysctls, Sysctls, default_sysctls, pod_sysctls};

use crate::error::{OciError, OciResult};
use crate::spec::ImageVolume;
use model::{Argv, Rootfs};
use oci_spec::runtime::Spec;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use wire::plan::{
    Bytes, CgroupPlan, ContainerPlan, ExecPlan, PidNamespace, ProcessPlan, RootfsPlan, SchedulerPlan, Stdio,
};

/// What a container's plan needs beside its spec.
#[derive(Debug, Clone)]
pub struct PlanInputs<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its log and stdin; the terminal is the spec's.
    pub stdio: Stdio,
    /// From [`crate::cgroup::Host::create`].
    pub cgroup: CgroupPlan,
    /// Which PID namespace it is born into.
    pub pid_namespace: PidNamespace,
    /// What its root is made of.
    pub root: RootSource<'a>,
    /// The images that it mounts, as the spec has them.
    pub images: &'a [ImageVolume],
}

/// What a container's root is made of.
#[derive(Debug, Clone, Copy)]
pub enum RootSource<'a> {
    /// An image and what is written over it, which the launcher mounts.
    Image {
        /// The image's.
        rootfs: &'a Rootfs,
        /// The writable layer.
        upper: &'a Path,
        /// The overlay's work directory.
        work: &'a Path,
    },
    /// The directory that the spec names, as it is.
    Directory,
}

impl RootSource<'_> {
    /// `path` is where the root is assembled.
    fn plan(&self, path: &Path) -> RootfsPlan {
        let plan = RootfsPlan { mountpoint: bytes(path), ..RootfsPlan::default() };
        match self {
            Self::Image { rootfs: Rootfs::Layers(layers), upper, work } => RootfsPlan {
                layers: layers.iter().map(|layer| bytes(layer)).collect(),
                upper: bytes(upper),
                work: bytes(work),
                ..plan
            },
            Self::Directory => RootfsPlan { directory: bytes(path), ..plan },
        }
    }
}

/// The plan of a container.
///
/// # Errors
/// [`OciError::Invalid`] for what a spec can say and the launcher cannot do, and for a seccomp profile that does
/// not compile.
pub fn container(spec: &Spec, inputs: &PlanInputs<'_>) -> OciResult<ContainerPlan> {
    let root = spec.root().as_ref().ok_or_else(|| OciError::invalid("spec.root", "is missing"))?;
    let linux = spec.linux().as_ref();
    let process = process(spec)?;
    let propagation = linux.and_then(|linux| linux.rootfs_propagation().as_deref()).unwrap_or("rslave");
    let own_dev = mounts::makes_dev(spec);
    let text = |paths: Option<&Vec<String>>| -> Vec<Bytes> {
        paths.into_iter().flatten().map(|path| path.clone().into_bytes()).collect()
    };
    let mut stdio = inputs.stdio.clone();
    stdio.tty = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    Ok(ContainerPlan {
        runtime: None,
        hooks: None,
        id: inputs.id.to_owned(),
        stdio,
        cgroup: inputs.cgroup.clone(),
        pid_namespace: inputs.pid_namespace.clone(),
        new_cgroup_namespace: has_cgroup_namespace(spec),
        rootfs: RootfsPlan {
            readonly: root.readonly().unwrap_or(false),
            label: linux.and_then(|linux| linux.mount_label().clone()).unwrap_or_default().into_bytes(),
            propagation: mounts::propagation(propagation)
                .ok_or_else(|| OciError::invalid("spec.linux.rootfsPropagation", "is unknown"))?,
            ..inputs.root.plan(root.path())
        },
        mounts: mounts::mounts(spec, inputs.images)?,
        devices: devices::devices(spec, own_dev)?,
        symlinks: if own_dev { devices::symlinks() } else { Vec::new() },
        masked_paths: text(linux.and_then(|linux| linux.masked_paths().as_ref())),
        readonly_paths: text(linux.and_then(|linux| linux.readonly_paths().as_ref())),
        sysctls: sysctl::of_spec(spec)?,
        process,
        ids: ids::of_spec(spec),
    })
}

/// How a command runs beside a container's first process.
#[derive(Debug, Clone)]
pub struct ExecInputs {
    /// The container's id.
    pub container: String,
    /// The container's cgroup.
    pub cgroup: CgroupPlan,
    /// Program and arguments.
    pub argv: Argv,
    /// 0: never.
    pub timeout_ms: u64,
    /// Of each of stdout and stderr, in bytes.
    pub output_cap: u64,
    /// How long inherited pipes are drained after the exit.
    pub drain_ms: u64,
}

/// The plan of an exec: the container's own process with another program. Take `process` from [`process`] or from
/// the container's plan. A scheduler that only the container's first process has is not the command's.
pub fn exec(process: &ProcessPlan, inputs: ExecInputs) -> ExecPlan {
    let argv = inputs.argv.into_words().into_iter().map(String::into_bytes).collect();
    let scheduler = process.scheduler.filter(SchedulerPlan::is_inherited);
    ExecPlan {
        runtime: Vec::new(),
        size: (0, 0),
        container: inputs.container,
        cgroup: inputs.cgroup,
        process: ProcessPlan { argv, scheduler, ..process.clone() },
        timeout_ms: inputs.timeout_ms,
        output_cap: inputs.output_cap,
        drain_ms: inputs.drain_ms,
    }
}

fn has_cgroup_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| {
        namespace.typ() == oci_spec::runtime::LinuxNamespaceType::Cgroup && namespace.path().is_none()
    })
}

fn bytes(path: &Path) -> Bytes {
    path.as_os_str().as_bytes().to_vec()
}
