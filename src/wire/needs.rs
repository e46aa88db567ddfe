//! Which features a request makes use of. Every structure is taken apart field by field, without `..`, so that a new
//! field does not compile until it is decided here which feature it belongs to.

use crate::feature::Feature::{
    AppArmor, CacheClasses, DirectoryRoots, ExecKills, Hooks, IdmappedMounts, ImageVolumes, IoPriorities,
    MemoryPolicies, MountFlags, Runtimes, Schedulers, SeccompAgents, Selinux, Streams, TerminalSizes,
    UserNamespaces,
};
use crate::feature::Features;
use crate::msg::{self, Request};
use crate::plan::{
    CgroupPlan, ContainerPlan, DevicePlan, ExecPlan, HookPlan, HooksPlan, IdMap, IdMaps, MemoryPolicyPlan,
    MountPlan, MountSource, PidNamespace, ProcessPlan, RootfsPlan, RuntimePlan, SandboxPlan, SchedulerPlan,
    SeccompAgent, Stdio,
};

impl Request {
    /// The features that a shim must have to carry the request out as it is meant.
    pub fn needs(&self) -> Features {
        match self {
            Self::Hello
            | Self::Start { id: _ }
            | Self::Signal { id: _, signal: _, all: _ }
            | Self::ReopenLog { id: _ }
            | Self::Remove { id: _ }
            | Self::CloseStdin { id: _ }
            | Self::Shutdown => Features::NONE,
            Self::Sandbox(plan) => plan.needs(),
            Self::Create(plan) => plan.needs(),
            Self::Exec(plan) => plan.needs(),
            Self::OpenExec { plan, streams, tty: _ } => {
                Features::of(&[Streams]) | plan.needs() | streams.needs()
            }
            Self::KillExec { request: _ } => Features::of(&[ExecKills]),
            Self::WaitExec { number: _ } => Features::of(&[Streams]),
            Self::Attach { id: _, streams } => Features::of(&[Streams]) | streams.needs(),
        }
    }
}

/// A part of a request.
trait Needs {
    /// The features that it makes use of.
    fn needs(&self) -> Features;
}

impl<T: Needs> Needs for [T] {
    fn needs(&self) -> Features {
        self.iter().map(Needs::needs).collect()
    }
}

impl<T: Needs> Needs for Option<T> {
    fn needs(&self) -> Features {
        self.as_ref().map_or(Features::NONE, Needs::needs)
    }
}

impl Needs for ContainerPlan {
    fn needs(&self) -> Features {
        let Self {
            id: _,
            stdio,
            cgroup,
            pid_namespace,
            new_cgroup_namespace: _,
            rootfs,
            mounts,
            devices,
            symlinks: _,
            masked_paths: _,
            readonly_paths: _,
            sysctls: _,
            process,
            ids,
            runtime,
            hooks,
        } = self;
        stdio.needs()
            | cgroup.needs()
            | pid_namespace.needs()
            | rootfs.needs()
            | mounts.needs()
            | devices.needs()
            | process.needs()
            | Features::when(!ids.is_empty(), UserNamespaces)
            | ids.needs()
            | Features::when(runtime.is_some(), Runtimes)
            | runtime.needs()
            | Features::when(hooks.is_some(), Hooks)
            | hooks.needs()
    }
}

impl Needs for HooksPlan {
    fn needs(&self) -> Features {
        let Self { create_runtime, create_container, start_container, state: _, beside: _ } = self;
        create_runtime.needs() | create_container.needs() | start_container.needs()
    }
}

impl Needs for HookPlan {
    fn needs(&self) -> Features {
        let Self { path: _, args: _, env: _, timeout_seconds: _ } = self;
        Features::NONE
    }
}

impl Needs for IdMaps {
    fn needs(&self) -> Features {
        let Self { uids, gids } = self;
        uids.needs() | gids.needs()
    }
}

impl Needs for IdMap {
    fn needs(&self) -> Features {
        let Self { inside: _, outside: _, count: _ } = self;
        Features::NONE
    }
}

impl Needs for RuntimePlan {
    fn needs(&self) -> Features {
        let Self { create: _, start: _, directory: _, pid_file: _, console: _, user_namespace: _, images: _ } =
            self;
        Features::NONE
    }
}

impl Needs for PidNamespace {
    fn needs(&self) -> Features {
        match self {
            Self::New | Self::Host | Self::Pod | Self::Container(_) => Features::NONE,
        }
    }
}

impl Needs for CgroupPlan {
    fn needs(&self) -> Features {
        let Self { v1: _, v2: _, oom: _, kill: _, resctrl } = self;
        Features::when(resctrl.is_some(), CacheClasses)
    }
}

impl Needs for RootfsPlan {
    fn needs(&self) -> Features {
        let Self {
            layers: _,
            upper: _,
            work: _,
            mountpoint: _,
            readonly: _,
            propagation: _,
            directory,
            label,
        } = self;
        Features::when(!directory.is_empty(), DirectoryRoots) | Features::when(!label.is_empty(), Selinux)
    }
}

impl Needs for MountSource {
    fn needs(&self) -> Features {
        match self {
            Self::Filesystem { fstype: _, source: _, data: _ }
            | Self::Bind { path: _, recursive: _ }
            | Self::Cgroup => Features::NONE,
            Self::Overlay { layers: _, label } => {
                Features::of(&[ImageVolumes]) | Features::when(!label.is_empty(), Selinux)
            }
        }
    }
}

impl Needs for MountPlan {
    fn needs(&self) -> Features {
        let Self {
            target: _,
            source,
            attributes: _,
            propagation: _,
            idmap,
            idmap_recursive,
            cleared,
            deep_attributes,
            deep_cleared,
        } = self;
        source.needs()
            | Features::when(!idmap.is_empty() || *idmap_recursive, IdmappedMounts)
            | idmap.needs()
            | Features::when(*cleared | *deep_attributes | *deep_cleared != 0, MountFlags)
    }
}

impl Needs for DevicePlan {
    fn needs(&self) -> Features {
        let Self { path: _, mode: _, major: _, minor: _, uid: _, gid: _ } = self;
        Features::NONE
    }
}

impl Needs for ProcessPlan {
    fn needs(&self) -> Features {
        let Self {
            argv: _,
            env: _,
            cwd: _,
            uid: _,
            gid: _,
            groups: _,
            umask: _,
            bounding: _,
            effective: _,
            permitted: _,
            inheritable: _,
            ambient: _,
            no_new_privs: _,
            oom_score_adj: _,
            rlimits: _,
            seccomp: _,
            seccomp_flags: _,
            seccomp_agent,
            apparmor,
            selinux,
            io_priority,
            scheduler,
            memory_policy,
        } = self;
        Features::when(seccomp_agent.is_some(), SeccompAgents)
            | seccomp_agent.needs()
            | Features::when(!apparmor.is_empty(), AppArmor)
            | Features::when(!selinux.is_empty(), Selinux)
            | Features::when(*io_priority != 0, IoPriorities)
            | Features::when(scheduler.is_some(), Schedulers)
            | scheduler.needs()
            | Features::when(memory_policy.is_some(), MemoryPolicies)
            | memory_policy.needs()
    }
}

impl Needs for SchedulerPlan {
    fn needs(&self) -> Features {
        let Self { policy: _, flags: _, nice: _, priority: _, runtime: _, deadline: _, period: _ } = self;
        Features::NONE
    }
}

impl Needs for MemoryPolicyPlan {
    fn needs(&self) -> Features {
        let Self { mode: _, nodes: _ } = self;
        Features::NONE
    }
}

impl Needs for SeccompAgent {
    fn needs(&self) -> Features {
        let Self { socket: _, before_pid: _, between_pids: _, after_pids: _ } = self;
        Features::NONE
    }
}

impl Needs for Stdio {
    fn needs(&self) -> Features {
        let Self { log_path: _, tty: _, stdin: _, stdin_once: _ } = self;
        Features::NONE
    }
}

impl Needs for SandboxPlan {
    fn needs(&self) -> Features {
        let Self {
            id: _,
            netns: _,
            new_ipc: _,
            new_uts: _,
            hostname: _,
            sysctls: _,
            cgroup,
            pause: _,
            pause_process,
            exits: _,
            oom_score_adj: _,
            ids,
        } = self;
        cgroup.needs() | pause_process.needs() | Features::when(!ids.is_empty(), UserNamespaces) | ids.needs()
    }
}

impl Needs for ExecPlan {
    fn needs(&self) -> Features {
        let Self { container: _, cgroup, process, timeout_ms: _, output_cap: _, drain_ms: _, runtime, size } =
            self;
        cgroup.needs()
            | process.needs()
            | Features::when(!runtime.is_empty(), Runtimes)
            | Features::when(*size != (0, 0), TerminalSizes)
    }
}

impl Needs for msg::Streams {
    fn needs(&self) -> Features {
        let Self { stdin: _, stdout: _, stderr: _ } = self;
        Features::NONE
    }
}

#[cfg(test)]
pub(crate) mod tests;
