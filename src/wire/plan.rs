//! Launch plans: what a pod, a container or a command is to have, with every decision already taken by the daemon.
//! The shim only carries them out; in which order, its `launch` knows.

mod process;

pub use process::{MemoryPolicyPlan, ProcessPlan, SchedulerPlan, SeccompAgent};

/// A path or argument; the kernel's strings are bytes without NUL.
pub type Bytes = Vec<u8>;

/// A container, from namespaces to exec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerPlan {
    /// The container id.
    pub id: String,
    /// Where the child's output and input go.
    pub stdio: Stdio,
    /// The cgroup that the child joins before anything else.
    pub cgroup: CgroupPlan,
    /// The PID namespace.
    pub pid_namespace: PidNamespace,
    /// Host IPC inside a pod with an IPC namespace of its own does not exist: the pod's shim lives in the pod's
    /// net, IPC and UTS namespaces and every child inherits them. This asks for a cgroup namespace of its own
    /// (v2, private).
    pub new_cgroup_namespace: bool,
    /// The root filesystem.
    pub rootfs: RootfsPlan,
    /// Mounts in order, after the root.
    pub mounts: Vec<MountPlan>,
    /// Device nodes made below `/dev` of the new root.
    pub devices: Vec<DevicePlan>,
    /// Symbolic links made in the new root where nothing is: (target, path), such as `/proc/self/fd` at `/dev/fd`.
    pub symlinks: Vec<(Bytes, Bytes)>,
    /// Files become unreadable (bind of /dev/null), directories empty (read-only tmpfs); absent ones are skipped.
    pub masked_paths: Vec<Bytes>,
    /// Remounted read-only in place; absent ones are skipped.
    pub readonly_paths: Vec<Bytes>,
    /// Written below /proc/sys after the namespaces stand: (name with dots, value).
    pub sysctls: Vec<(Bytes, Bytes)>,
    /// What runs.
    pub process: ProcessPlan,
    /// The ids of the pod's user namespace, which the container lives in and which its layers are shown through;
    /// empty: the host's ids.
    pub ids: IdMaps,
    /// A program that makes the container in the launcher's place; then of all above only `id`, `stdio`, `cgroup`,
    /// `pid_namespace`, `rootfs`, `ids` with the process's user, and those of `mounts` count that the runtime's plan has
    /// a place for.
    pub runtime: Option<RuntimePlan>,
    /// Programs of the host to run on the way, where there are any.
    pub hooks: Option<HooksPlan>,
}

/// The hooks of the runtime spec that the launcher runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HooksPlan {
    /// When the namespaces stand, in those of `beside`.
    pub create_runtime: Vec<HookPlan>,
    /// When everything is mounted, in the container's namespaces, with the host's files.
    pub create_container: Vec<HookPlan>,
    /// In the container, just before its program.
    pub start_container: Vec<HookPlan>,
    /// The container's state in JSON, without `status`, `pid` and the closing brace.
    pub state: Bytes,
    /// A process in the runtime's namespaces.
    pub beside: i32,
}

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookPlan {
    /// The program.
    pub path: Bytes,
    /// Its arguments, beginning with its own name.
    pub args: Vec<Bytes>,
    /// `NAME=value`.
    pub env: Vec<Bytes>,
    /// Killed after so many seconds; 0: never.
    pub timeout_seconds: u64,
}

/// A range of ids that a user namespace maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdMap {
    /// The first id inside.
    pub inside: u32,
    /// What the first one is outside. An idmapped mount shows the owner `inside` of its filesystem as this one.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The ids of a user namespace, or those that an idmapped mount translates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdMap>,
    /// Groups.
    pub gids: Vec<IdMap>,
}

impl IdMaps {
    /// Maps nothing: no namespace, no translation.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// What a user id inside is outside; itself without a mapping.
    pub fn uid_outside(&self, id: u32) -> u32 {
        outside(&self.uids, id)
    }

    /// What a group id inside is outside; itself without a mapping.
    pub fn gid_outside(&self, id: u32) -> u32 {
        outside(&self.gids, id)
    }
}

fn outside(maps: &[IdMap], id: u32) -> u32 {
    let holds = |map: &&IdMap| id >= map.inside && id - map.inside < map.count;
    maps.iter().find(holds).map_or(id, |map| map.outside.saturating_add(id - map.inside))
}

/// How an OCI runtime makes a container: its commands, each with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimePlan {
    /// Makes it; its stdio is the container's.
    pub create: Vec<Bytes>,
    /// Runs its program.
    pub start: Vec<Bytes>,
    /// The working directory of all commands, which also holds what follows: the bundle.
    pub directory: Bytes,
    /// Where `create` writes the number of the first process, a name in `directory`.
    pub pid_file: Bytes,
    /// The socket to which `create` sends the terminal's master, a name in `directory`; only with a terminal.
    pub console: Bytes,
    /// A file on which `create` finds the pod's user namespace, a name in `directory`; empty: the pod has none.
    pub user_namespace: Bytes,
    /// For each of the container's mounts the directory on which `create` finds it mounted, a name in `directory`; empty
    /// for those that the runtime makes, which is all but overlays.
    pub images: Vec<Bytes>,
}

/// Which PID namespace a container's first process is born into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PidNamespace {
    /// One of its own; the process is PID 1.
    #[default]
    New,
    /// The host's.
    Host,
    /// The pod's, held by the pause.
    Pod,
    /// That of another container of the pod, by id.
    Container(String),
}

/// How a child joins its cgroup without anybody moving it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupPlan {
    /// cgroup v1: directories, one a controller; the child writes `0` to the `tasks` file of each.
    pub v1: Vec<Bytes>,
    /// cgroup v2: the directory for `clone3(CLONE_INTO_CGROUP)`. On a hybrid host both are set.
    pub v2: Option<Bytes>,
    /// cgroup v1 `memory` directory or the v2 directory: where OOM kills are counted.
    pub oom: Option<Bytes>,
    /// cgroup v1 `freezer` directory or the v2 directory: for killing everything in the container at once.
    pub kill: Option<Bytes>,
    /// A directory of the kernel's resctrl filesystem, a class of cache: the child writes `0` to its `tasks`.
    pub resctrl: Option<Bytes>,
}

/// The root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RootfsPlan {
    /// Layer directories, top first. Mounted as an overlay inside the container's own mount namespace.
    pub layers: Vec<Bytes>,
    /// The writable layer.
    pub upper: Bytes,
    /// The overlay's work directory, on the same filesystem as `upper`.
    pub work: Bytes,
    /// The directory of the host on which the root is assembled (a path that always exists and is empty).
    pub mountpoint: Bytes,
    /// Remounted read-only at the end.
    pub readonly: bool,
    /// Propagation of the root mount: `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`, with `MS_REC`.
    pub propagation: u64,
    /// A directory of the host that is the root as it is, with what is mounted below it; then there are no layers.
    /// Empty: the root is an overlay.
    pub directory: Bytes,
    /// The label of all files of the overlay (SELinux); empty: none is given.
    pub label: Bytes,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A new filesystem: type, source and data, as mount(2) takes them.
    Filesystem {
        /// `proc`, `tmpfs`, `sysfs`, `mqueue`, `devpts`, …
        fstype: Bytes,
        /// For /proc/mounts.
        source: Bytes,
        /// Options of the filesystem, comma-separated; quotes around a value that has a comma.
        data: Bytes,
    },
    /// A bind mount (recursive) of a path of the host.
    Bind {
        /// The path.
        path: Bytes,
        /// With everything mounted below it.
        recursive: bool,
    },
    /// An overlay that nobody can write to.
    Overlay {
        /// Its layers, top first; two at least.
        layers: Vec<Bytes>,
        /// The label of all its files (SELinux); empty: none is given.
        label: Bytes,
    },
    /// A view of the container's cgroup: cgroup2 on a unified host; on v1 a tmpfs with one bind a controller.
    Cgroup,
}

/// One mount, at a path resolved inside the new root and never through a link out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// Absolute path in the container; created (a file for a file, else a directory) when absent.
    pub target: Bytes,
    /// What appears there.
    pub source: MountSource,
    /// `MOUNT_ATTR_*` flags to set: read-only, nosuid, nodev, noexec, noatime, …
    pub attributes: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` with `MS_REC`; 0: private.
    pub propagation: u64,
    /// Shows a bind mount's owners through these ids (an idmapped mount); empty: as they are.
    pub idmap: IdMaps,
    /// Also everything mounted below it.
    pub idmap_recursive: bool,
    /// Flags to take away from what the mount's source has.
    pub cleared: u64,
    /// Flags to set on the mount and on everything mounted below (recursive read-only).
    pub deep_attributes: u64,
    /// Flags to take away there.
    pub deep_cleared: u64,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePlan {
    /// Absolute path in the container.
    pub path: Bytes,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, with the permission bits.
    pub mode: u32,
    /// Device numbers.
    pub major: u32,
    /// Device numbers.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Output and input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stdio {
    /// The CRI log file; empty: output is read and thrown away.
    pub log_path: Bytes,
    /// A pseudo terminal (stdout and stderr become one).
    pub tty: bool,
    /// Keeps a pipe on stdin open; otherwise stdin is /dev/null.
    pub stdin: bool,
    /// Closes stdin when the first attached client leaves.
    pub stdin_once: bool,
}

/// The pod's own part, said once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxPlan {
    /// The sandbox id.
    pub id: String,
    /// The pinned network namespace to live in; empty: the host's.
    pub netns: Bytes,
    /// A new IPC namespace.
    pub new_ipc: bool,
    /// A new UTS namespace.
    pub new_uts: bool,
    /// Set in the new UTS namespace when not empty.
    pub hostname: Bytes,
    /// Namespaced sysctls of the pod: (name with dots, value).
    pub sysctls: Vec<(Bytes, Bytes)>,
    /// The cgroup of the shim and the pause.
    pub cgroup: CgroupPlan,
    /// Path of the pause binary: a pause holds a PID namespace for the pod; empty: no pod PID namespace.
    pub pause: Bytes,
    /// How the pause runs (user, capabilities, seccomp; argv, env and cwd are ignored).
    pub pause_process: ProcessPlan,
    /// Where exit records are written: `<dir>/<container id>.exit`.
    pub exits: Bytes,
    /// The shim's own; -999 where the host lets it.
    pub oom_score_adj: i32,
    /// A user namespace of the pod's own with these ids, which owns the pod's other namespaces; empty: the host's.
    /// The shim makes the network namespace then, and pins it at `netns`.
    pub ids: IdMaps,
}

/// A process beside a running container's first one (CRI ExecSync).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecPlan {
    /// The container id.
    pub container: String,
    /// The cgroup to join; the container's.
    pub cgroup: CgroupPlan,
    /// What runs.
    pub process: ProcessPlan,
    /// Kills the whole exec tree after so many milliseconds; 0: never.
    pub timeout_ms: u64,
    /// Each of stdout and stderr is cut off at so many bytes; the rest is read and thrown away.
    pub output_cap: u64,
    /// How long pipes that grandchildren inherited are drained after the exit, in milliseconds.
    pub drain_ms: u64,
    /// The command of the container's runtime that runs it in the shim's place, with its arguments; empty: the shim
    /// itself. Then of `process` nothing counts.
    pub runtime: Vec<Bytes>,
    /// Columns and rows that its terminal has from the beginning; 0: none yet.
    pub size: (u32, u32),
}

#[cfg(test)]
mod tests;
