//! The encoding of every structure and message, field by field.

use crate::codec::{Codec, DecodeError, Reader, put_structure};
use crate::feature::Features;
use crate::msg::{ContainerSnapshot, ContainerState, ErrorCode, Event, ExitRecord, Reply, Request, Streams};
use crate::plan::{
    CgroupPlan, ContainerPlan, DevicePlan, ExecPlan, HookPlan, HooksPlan, IdMap, IdMaps, MemoryPolicyPlan,
    MountPlan, MountSource, PidNamespace, ProcessPlan, RootfsPlan, RuntimePlan, SandboxPlan, SchedulerPlan,
    SeccompAgent, Stdio,
};

/// A structure: its fields in order, behind their length. Fields behind `+` each belong to a feature
/// ([`crate::needs`]): where they have their defaults they are left out, and so a request that needs no feature is, byte
/// for byte, what it was before there were any.
macro_rules! structure {
    ($type:ident { $($field:ident),* $(+ $newer:ident)* $(,)? }) => {
        impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                put_structure(out, stringify!($type), |fields| {
                    $(fields.put(stringify!($field), &self.$field);)*
                    $(fields.put_newer(stringify!($newer), &self.$newer);)*
                });
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let mut fields = reader.structure(stringify!($type))?;
                Ok(Self { $($field: Codec::get(&mut fields)?,)* $($newer: fields.newer()?,)* })
            }
        }
    };
}

/// An enumeration without data: one byte.
macro_rules! names {
    ($type:ident { $($variant:ident = $tag:literal),* $(,)? }) => {
        impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                #[cfg(test)]
                crate::witness::variant(stringify!($type), &[$(stringify!($variant)),*], match self {
                    $(Self::$variant => stringify!($variant)),*
                });
                out.push(match self { $(Self::$variant => $tag),* });
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match reader.tag(stringify!($type))? {
                    $($tag => Ok(Self::$variant),)*
                    tag => Err(DecodeError::Unknown { what: stringify!($type), tag }),
                }
            }
        }
    };
}

/// An enumeration with data: one byte, then the fields of the variant behind their length; `+` as in a structure.
macro_rules! variants {
    ($type:ident { $($tag:literal = $variant:ident $({ $($field:ident),* $(+ $newer:ident)* })? $(( $inner:ident ))?),* $(,)? }) => {
        #[cfg(test)]
        impl $type {
            const NAMES: &[&str] = &[$(stringify!($variant)),*];
        }

        impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field,)* $($newer),* })? $(( $inner ))? => {
                        #[cfg(test)]
                        crate::witness::variant(stringify!($type), Self::NAMES, stringify!($variant));
                        out.push($tag);
                        put_structure(out, concat!(stringify!($type), "::", stringify!($variant)), |_fields| {
                            $(
                                $(_fields.put(stringify!($field), $field);)*
                                $(_fields.put_newer(stringify!($newer), $newer);)*
                            )?
                            $(_fields.put(stringify!($inner), $inner);)?
                        });
                    })*
                }
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let tag = reader.tag(stringify!($type))?;
                let mut _fields = reader.structure(stringify!($type))?;
                match tag {
                    $($tag => {
                        $($(let $field = Codec::get(&mut _fields)?;)* $(let $newer = _fields.newer()?;)*)?
                        $(let $inner = Codec::get(&mut _fields)?;)?
                        Ok(Self::$variant $({ $($field,)* $($newer),* })? $(( $inner ))?)
                    })*
                    tag => Err(DecodeError::Unknown { what: stringify!($type), tag }),
                }
            }
        }
    };
}

impl Codec for Features {
    fn put(&self, out: &mut Vec<u8>) {
        self.bits().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::get(reader).map(Self::from_bits)
    }
}

structure!(ContainerPlan {
    id,
    stdio,
    cgroup,
    pid_namespace,
    new_cgroup_namespace,
    rootfs,
    mounts,
    devices,
    symlinks,
    masked_paths,
    readonly_paths,
    sysctls,
    process
    + ids
    + runtime
    + hooks
});
structure!(HooksPlan { create_runtime, create_container, start_container, state, beside });
structure!(HookPlan { path, args, env, timeout_seconds });
structure!(RuntimePlan { create, start, directory, pid_file, console, user_namespace, images });
structure!(IdMap { inside, outside, count });
structure!(IdMaps { uids, gids });
variants!(PidNamespace { 0 = New, 1 = Host, 2 = Pod, 3 = Container(id) });
structure!(CgroupPlan { v1, v2, oom, kill + resctrl });
structure!(RootfsPlan { layers, upper, work, mountpoint, readonly, propagation + directory + label });
variants!(MountSource { 0 = Filesystem { fstype, source, data }, 1 = Bind { path, recursive }, 2 = Cgroup, 3 = Overlay { layers + label } });
structure!(MountPlan { target, source, attributes, propagation + idmap + idmap_recursive + cleared + deep_attributes + deep_cleared });
structure!(DevicePlan { path, mode, major, minor, uid, gid });
structure!(ProcessPlan {
    argv,
    env,
    cwd,
    uid,
    gid,
    groups,
    umask,
    bounding,
    effective,
    permitted,
    inheritable,
    ambient,
    no_new_privs,
    oom_score_adj,
    rlimits,
    seccomp,
    seccomp_flags
    + seccomp_agent
    + apparmor
    + selinux
    + io_priority
    + scheduler
    + memory_policy
});
structure!(SchedulerPlan { policy, flags, nice, priority, runtime, deadline, period });
structure!(MemoryPolicyPlan { mode, nodes });
structure!(SeccompAgent { socket, before_pid, between_pids, after_pids });
structure!(Stdio { log_path, tty, stdin, stdin_once });
structure!(SandboxPlan {
    id,
    netns,
    new_ipc,
    new_uts,
    hostname,
    sysctls,
    cgroup,
    pause,
    pause_process,
    exits,
    oom_score_adj
    + ids
});
structure!(ExecPlan { container, cgroup, process, timeout_ms, output_cap, drain_ms + runtime + size });

variants!(Request {
    0 = Hello,
    1 = Sandbox(plan),
    2 = Create(plan),
    3 = Start { id },
    4 = Signal { id, signal, all },
    5 = Exec(plan),
    6 = ReopenLog { id },
    7 = Remove { id },
    8 = CloseStdin { id },
    9 = Shutdown,
    20 = OpenExec { plan, streams, tty },
    21 = WaitExec { number },
    22 = Attach { id, streams },
    23 = KillExec { request },
});
variants!(Reply {
    0 = Hello { version, pid, sandbox_ready, containers, pause_pid, features },
    1 = Sandbox { pause_pid, warnings },
    2 = Created { pid },
    3 = Started { started_at_ns, pid },
    4 = Ok,
    5 = Exec { exit_code, stdout, stderr, timed_out, truncated },
    6 = Error { kind, errno, message },
    20 = Opened { number, descriptors },
});
structure!(Streams { stdin, stdout, stderr });
names!(ErrorCode { NotFound = 0, BadState = 1, Setup = 2, Exec = 3, Invalid = 4, Io = 5 });
variants!(Event { 0 = Exited(record) });
structure!(ExitRecord { id, code, signal, oom, finished_at_ns, started_at_ns, start_error, log_bytes_lost });
names!(ContainerState { Creating = 0, Created = 1, Running = 2, Exited = 3 });
structure!(ContainerSnapshot { id, state, pid, created_at_ns, started_at_ns, exit });
