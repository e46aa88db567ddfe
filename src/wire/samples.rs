//! One message of each kind, with something to say in every field of one of them at least.

use crate::feature::{Feature, Features};
use crate::frame::{self, Body};
use crate::msg::{ContainerSnapshot, ContainerState, ErrorCode, Event, ExitRecord, Reply, Request, Streams};
use crate::plan::{
    CgroupPlan, ContainerPlan, DevicePlan, ExecPlan, HookPlan, HooksPlan, IdMap, IdMaps, MemoryPolicyPlan,
    MountPlan, MountSource, PidNamespace, ProcessPlan, RootfsPlan, RuntimePlan, SandboxPlan, SchedulerPlan,
    SeccompAgent, Stdio,
};

pub(crate) fn process() -> ProcessPlan {
    ProcessPlan {
        argv: vec![b"/bin/sh".to_vec(), b"-c".to_vec(), b"\xff\xfe".to_vec()],
        env: vec![b"PATH=/bin".to_vec()],
        cwd: b"/tmp".to_vec(),
        uid: 1000,
        gid: u32::MAX - 1,
        groups: vec![1, 2, 3],
        umask: Some(0o027),
        bounding: 0x1ff,
        effective: 1,
        permitted: 3,
        inheritable: 4,
        ambient: u64::MAX,
        no_new_privs: true,
        oom_score_adj: Some(-998),
        rlimits: vec![(7, 1024, u64::MAX)],
        seccomp: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f],
        seccomp_flags: 4,
        seccomp_agent: Some(SeccompAgent {
            socket: b"/run/agent.sock".to_vec(),
            before_pid: b"{\"pid\":".to_vec(),
            between_pids: b",\"state\":{\"pid\":".to_vec(),
            after_pids: b"}}".to_vec(),
        }),
        apparmor: b"corten-default".to_vec(),
        selinux: b"system_u:system_r:container_t:s0:c1,c2".to_vec(),
        io_priority: 1 << 13 | 4,
        scheduler: Some(SchedulerPlan {
            policy: 6,
            flags: 1,
            nice: -5,
            priority: 50,
            runtime: 1_000_000,
            deadline: 5_000_000,
            period: 10_000_000,
        }),
        memory_policy: Some(MemoryPolicyPlan { mode: 1 << 15 | 2, nodes: vec![3] }),
    }
}

pub(crate) fn ids() -> IdMaps {
    IdMaps {
        uids: vec![IdMap { inside: 1, outside: 65_536, count: 65_536 }],
        gids: vec![IdMap { inside: 1, outside: 131_072, count: 65_536 }],
    }
}

pub(crate) fn cgroup() -> CgroupPlan {
    CgroupPlan {
        v1: vec![b"/sys/fs/cgroup/pids/x".to_vec(), b"/sys/fs/cgroup/memory/x".to_vec()],
        v2: Some(b"/sys/fs/cgroup/unified/x".to_vec()),
        oom: Some(b"/sys/fs/cgroup/memory/x".to_vec()),
        kill: Some(b"/sys/fs/cgroup/freezer/x".to_vec()),
        resctrl: Some(b"/sys/fs/resctrl/gold".to_vec()),
    }
}

pub(crate) fn container() -> ContainerPlan {
    ContainerPlan {
        runtime: Some(RuntimePlan {
            create: vec![b"crun".to_vec(), b"create".to_vec()],
            start: vec![b"crun".to_vec(), b"start".to_vec()],
            directory: b"/run/bundle".to_vec(),
            pid_file: b"pid".to_vec(),
            console: b"console.sock".to_vec(),
            user_namespace: b"user".to_vec(),
            images: vec![Vec::new(), b"image-1".to_vec()],
        }),
        hooks: Some(HooksPlan {
            create_runtime: vec![HookPlan { path: b"/usr/bin/first".to_vec(), ..HookPlan::default() }],
            create_container: vec![HookPlan {
                path: b"/usr/bin/hook".to_vec(),
                args: vec![b"hook".to_vec(), b"ldcache".to_vec()],
                env: vec![b"A=b".to_vec()],
                timeout_seconds: 10,
            }],
            start_container: vec![HookPlan { path: b"/usr/bin/last".to_vec(), ..HookPlan::default() }],
            state: b"{".to_vec(),
            beside: 7,
        }),
        id: "c1".to_owned(),
        stdio: Stdio { log_path: b"/var/log/0.log".to_vec(), tty: true, stdin: true, stdin_once: true },
        cgroup: cgroup(),
        pid_namespace: PidNamespace::Container("other".to_owned()),
        new_cgroup_namespace: true,
        rootfs: RootfsPlan {
            directory: b"/bundle/rootfs".to_vec(),
            label: b"system_u:object_r:container_file_t:s0:c1,c2".to_vec(),
            layers: vec![b"/l/2".to_vec(), b"/l/1".to_vec()],
            upper: b"/u".to_vec(),
            work: b"/w".to_vec(),
            mountpoint: b"/m".to_vec(),
            readonly: true,
            propagation: 1 << 18,
        },
        mounts: vec![
            MountPlan {
                target: b"/proc".to_vec(),
                source: MountSource::Filesystem {
                    fstype: b"proc".to_vec(),
                    source: b"proc".to_vec(),
                    data: b"hidepid=2".to_vec(),
                },
                attributes: 0xe,
                propagation: 0,
                cleared: 0,
                deep_attributes: 0,
                deep_cleared: 0,
                idmap: IdMaps::default(),
                idmap_recursive: false,
            },
            MountPlan {
                target: b"/data".to_vec(),
                source: MountSource::Bind { path: b"/host".to_vec(), recursive: true },
                attributes: 1,
                propagation: 1 << 19,
                cleared: 2,
                deep_attributes: 4,
                deep_cleared: 8,
                idmap: ids(),
                idmap_recursive: true,
            },
            MountPlan {
                target: b"/image".to_vec(),
                source: MountSource::Overlay {
                    layers: vec![b"/l/2".to_vec(), b"/l/1".to_vec()],
                    label: b"u:r:t:s0".to_vec(),
                },
                attributes: 7,
                propagation: 0,
                cleared: 0,
                deep_attributes: 0,
                deep_cleared: 0,
                idmap: IdMaps::default(),
                idmap_recursive: false,
            },
            MountPlan {
                target: b"/sys/fs/cgroup".to_vec(),
                source: MountSource::Cgroup,
                attributes: 1,
                propagation: 0,
                cleared: 0,
                deep_attributes: 0,
                deep_cleared: 0,
                idmap: IdMaps::default(),
                idmap_recursive: false,
            },
        ],
        devices: vec![DevicePlan {
            path: b"/dev/null".to_vec(),
            mode: 0o20666,
            major: 1,
            minor: 3,
            uid: 3,
            gid: 5,
        }],
        symlinks: vec![(b"/proc/self/fd".to_vec(), b"/dev/fd".to_vec())],
        masked_paths: vec![b"/proc/kcore".to_vec()],
        readonly_paths: vec![b"/proc/sys".to_vec()],
        sysctls: vec![(b"net.ipv4.ip_forward".to_vec(), b"1".to_vec())],
        process: process(),
        ids: ids(),
    }
}

pub(crate) fn sandbox() -> SandboxPlan {
    SandboxPlan {
        id: "s1".to_owned(),
        netns: b"/run/netns/x".to_vec(),
        new_ipc: true,
        new_uts: true,
        hostname: b"pod".to_vec(),
        sysctls: vec![(b"kernel.shm_rmid_forced".to_vec(), b"1".to_vec())],
        cgroup: cgroup(),
        pause: b"/usr/bin/corten-pause".to_vec(),
        pause_process: process(),
        exits: b"/run/corten/exits".to_vec(),
        oom_score_adj: -999,
        ids: ids(),
    }
}

pub(crate) fn record() -> ExitRecord {
    ExitRecord {
        id: "c1".to_owned(),
        code: 137,
        signal: Some(9),
        oom: true,
        finished_at_ns: i64::MAX,
        started_at_ns: -1,
        start_error: Some("no such file".to_owned()),
        log_bytes_lost: 12,
    }
}

/// A command, with its terminal's size.
pub(crate) fn exec() -> ExecPlan {
    ExecPlan {
        container: "c1".to_owned(),
        cgroup: cgroup(),
        process: process(),
        timeout_ms: 1500,
        output_cap: 16 << 20,
        drain_ms: 200,
        runtime: vec![b"crun".to_vec(), b"exec".to_vec()],
        size: (80, 24),
    }
}

/// The messages by name, which is that of their golden frame.
pub(crate) fn all() -> Vec<(&'static str, Body)> {
    let mut all: Vec<_> =
        requests().into_iter().map(|(name, message)| (name, Body::Request(message))).collect();
    all.extend(replies().into_iter().map(|(name, message)| (name, Body::Reply(message))));
    all.push(("event-exited", Body::Event(Event::Exited(record()))));
    all
}

/// A frame of the message.
pub(crate) fn encoded(id: u64, body: &Body) -> Vec<u8> {
    match body {
        Body::Request(message) => frame::request(id, message),
        Body::Reply(message) => frame::reply(id, message),
        Body::Event(message) => frame::event(message),
    }
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let id = || "c1".to_owned();
    let in_namespace = |pid_namespace| Request::Create(ContainerPlan { pid_namespace, ..container() });
    vec![
        ("request-hello", Request::Hello),
        ("request-sandbox", Request::Sandbox(sandbox())),
        ("request-sandbox-empty", Request::Sandbox(SandboxPlan::default())),
        ("request-create", Request::Create(container())),
        ("request-create-empty", Request::Create(ContainerPlan::default())),
        ("request-create-host-pids", in_namespace(PidNamespace::Host)),
        ("request-create-pod-pids", in_namespace(PidNamespace::Pod)),
        ("request-start", Request::Start { id: id() }),
        ("request-signal", Request::Signal { id: id(), signal: 15, all: true }),
        ("request-exec", Request::Exec(exec())),
        ("request-exec-empty", Request::Exec(ExecPlan::default())),
        ("request-kill-exec", Request::KillExec { request: 1 << 40 }),
        ("request-reopen-log", Request::ReopenLog { id: id() }),
        ("request-remove", Request::Remove { id: id() }),
        ("request-close-stdin", Request::CloseStdin { id: id() }),
        ("request-shutdown", Request::Shutdown),
        (
            "request-open-exec",
            Request::OpenExec {
                plan: exec(),
                streams: Streams { stdin: true, stdout: false, stderr: true },
                tty: true,
            },
        ),
        ("request-wait-exec", Request::WaitExec { number: 1 << 40 }),
        (
            "request-attach",
            Request::Attach { id: id(), streams: Streams { stdin: false, stdout: true, stderr: false } },
        ),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let snapshot = |state, exit| ContainerSnapshot {
        id: "c1".to_owned(),
        state,
        pid: 42,
        created_at_ns: 1,
        started_at_ns: 2,
        exit,
    };
    let hello = Reply::Hello {
        version: 1,
        pid: 7,
        sandbox_ready: true,
        containers: vec![
            snapshot(ContainerState::Creating, None),
            snapshot(ContainerState::Created, None),
            snapshot(ContainerState::Running, None),
            snapshot(ContainerState::Exited, Some(record())),
        ],
        pause_pid: Some(11),
        features: Features::of(Feature::ALL),
    };
    let error = |kind| Reply::Error { kind, errno: 2, message: "mount /x: ü".to_owned() };
    let exec = Reply::Exec {
        exit_code: 1,
        stdout: vec![1, 2, 3],
        stderr: vec![4],
        timed_out: true,
        truncated: true,
    };
    vec![
        ("reply-hello", hello),
        ("reply-sandbox", Reply::Sandbox { pause_pid: Some(9), warnings: vec!["clamped".to_owned()] }),
        ("reply-sandbox-empty", Reply::Sandbox { pause_pid: None, warnings: vec![] }),
        ("reply-created", Reply::Created { pid: 8 }),
        ("reply-started", Reply::Started { started_at_ns: 1_700_000_000_000_000_000, pid: 4712 }),
        ("reply-ok", Reply::Ok),
        ("reply-opened", Reply::Opened { number: u64::MAX, descriptors: 3 }),
        ("reply-exec", exec),
        ("reply-error-not-found", error(ErrorCode::NotFound)),
        ("reply-error-bad-state", error(ErrorCode::BadState)),
        ("reply-error-setup", error(ErrorCode::Setup)),
        ("reply-error-exec", error(ErrorCode::Exec)),
        ("reply-error-invalid", error(ErrorCode::Invalid)),
        ("reply-error-io", error(ErrorCode::Io)),
    ]
}
