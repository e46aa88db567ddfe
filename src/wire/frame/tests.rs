#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::exit;
use crate::msg::{ContainerSnapshot, ContainerState, ErrorCode, ExitRecord, Streams};
use crate::plan::{
    CgroupPlan, ContainerPlan, DevicePlan, ExecPlan, HookPlan, HooksPlan, IdMap, IdMaps, MountPlan,
    MountSource, PidNamespace, ProcessPlan, RootfsPlan, RuntimePlan, SandboxPlan, SeccompAgent, Stdio,
};

/// A small deterministic generator (xorshift), so that failures can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

fn process() -> ProcessPlan {
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
        inheritable: 0,
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
    }
}

fn ids() -> IdMaps {
    IdMaps {
        uids: vec![IdMap { inside: 0, outside: 65_536, count: 65_536 }],
        gids: vec![IdMap { inside: 0, outside: 131_072, count: 65_536 }],
    }
}

fn cgroup() -> CgroupPlan {
    CgroupPlan {
        v1: vec![b"/sys/fs/cgroup/pids/x".to_vec(), b"/sys/fs/cgroup/memory/x".to_vec()],
        v2: Some(b"/sys/fs/cgroup/unified/x".to_vec()),
        oom: Some(b"/sys/fs/cgroup/memory/x".to_vec()),
        kill: None,
    }
}

fn container() -> ContainerPlan {
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
            create_runtime: Vec::new(),
            create_container: vec![HookPlan {
                path: b"/usr/bin/hook".to_vec(),
                args: vec![b"hook".to_vec(), b"ldcache".to_vec()],
                env: vec![b"A=b".to_vec()],
                timeout_seconds: 10,
            }],
            start_container: Vec::new(),
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
                    data: b"".to_vec(),
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
            uid: 0,
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

fn sandbox() -> SandboxPlan {
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

fn record() -> ExitRecord {
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

fn bodies() -> Vec<Body> {
    let id = || "c1".to_owned();
    let mut bodies: Vec<Body> = [
        Request::Hello,
        Request::Sandbox(sandbox()),
        Request::Sandbox(SandboxPlan::default()),
        Request::Create(container()),
        Request::Create(ContainerPlan::default()),
        Request::Create(ContainerPlan { pid_namespace: PidNamespace::Host, ..container() }),
        Request::Create(ContainerPlan { pid_namespace: PidNamespace::Pod, ..container() }),
        Request::Start { id: id() },
        Request::Signal { id: id(), signal: 15, all: true },
        Request::Exec(ExecPlan {
            runtime: vec![b"crun".to_vec(), b"exec".to_vec()],
            container: id(),
            cgroup: cgroup(),
            process: process(),
            timeout_ms: 1500,
            output_cap: 16 << 20,
            size: (0, 0),
            drain_ms: 200,
        }),
        Request::ReopenLog { id: id() },
        Request::Remove { id: id() },
        Request::CloseStdin { id: id() },
        Request::Shutdown,
        Request::OpenExec {
            plan: ExecPlan { container: id(), process: process(), size: (80, 24), ..ExecPlan::default() },
            streams: Streams { stdin: true, stdout: false, stderr: true },
            tty: true,
        },
        Request::WaitExec { number: 1 << 40 },
        Request::Attach { id: id(), streams: Streams { stdin: false, stdout: true, stderr: false } },
    ]
    .into_iter()
    .map(Body::Request)
    .collect();
    let snapshot = |state, exit| ContainerSnapshot {
        id: id(),
        state,
        pid: 42,
        created_at_ns: 1,
        started_at_ns: 2,
        exit,
    };
    let replies = [
        Reply::Hello {
            version: crate::VERSION,
            pid: 7,
            sandbox_ready: true,
            containers: vec![
                snapshot(ContainerState::Creating, None),
                snapshot(ContainerState::Created, None),
                snapshot(ContainerState::Running, None),
                snapshot(ContainerState::Exited, Some(record())),
            ],
            pause_pid: Some(11),
        },
        Reply::Sandbox { pause_pid: Some(9), warnings: vec!["clamped".to_owned()] },
        Reply::Sandbox { pause_pid: None, warnings: vec![] },
        Reply::Created { pid: 8 },
        Reply::Started { started_at_ns: 1_700_000_000_000_000_000, pid: 4712 },
        Reply::Ok,
        Reply::Opened { number: u64::MAX, descriptors: 3 },
        Reply::Exec {
            exit_code: 1,
            stdout: vec![1, 2, 3],
            stderr: vec![],
            timed_out: true,
            truncated: false,
        },
    ];
    bodies.extend(replies.into_iter().map(Body::Reply));
    let kinds = [
        ErrorCode::NotFound,
        ErrorCode::BadState,
        ErrorCode::Setup,
        ErrorCode::Exec,
        ErrorCode::Invalid,
        ErrorCode::Io,
    ];
    bodies.extend(
        kinds.map(|kind| Body::Reply(Reply::Error { kind, errno: 2, message: "mount /x: ü".to_owned() })),
    );
    bodies.push(Body::Event(Event::Exited(record())));
    bodies
}

fn encoded(id: u64, body: &Body) -> Vec<u8> {
    match body {
        Body::Request(message) => request(id, message),
        Body::Reply(message) => reply(id, message),
        Body::Event(message) => event(message),
    }
}

#[test]
fn every_message_survives_the_round_trip() {
    for body in bodies() {
        let id = if matches!(body, Body::Event(_)) { 0 } else { u64::MAX - 3 };
        let mut decoder = FrameDecoder::new();
        decoder.push(&encoded(id, &body));
        assert_eq!(decoder.next_frame().unwrap(), Some(Frame { id, body }));
        assert_eq!(decoder.next_frame().unwrap(), None);
    }
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let all: Vec<u8> = bodies().iter().flat_map(|body| encoded(5, body)).collect();
    for step in [1, 3, 7, 64, 4096, all.len()] {
        let mut decoder = FrameDecoder::new();
        let mut found = Vec::new();
        for chunk in all.chunks(step) {
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame().unwrap() {
                found.push(frame.body);
            }
        }
        assert_eq!(found, bodies(), "in steps of {step}");
    }
}

#[test]
fn every_truncation_is_an_error_or_asks_for_more() {
    for body in bodies() {
        let whole = encoded(1, &body);
        for cut in 0..whole.len() {
            let mut decoder = FrameDecoder::new();
            decoder.push(&whole[..cut]);
            assert_eq!(decoder.next_frame(), Ok(None));
            if cut >= LENGTH {
                // The same bytes under a length that claims to be all of them.
                let mut short = u32::try_from(cut - LENGTH).unwrap().to_le_bytes().to_vec();
                short.extend_from_slice(&whole[LENGTH..cut]);
                let mut decoder = FrameDecoder::new();
                decoder.push(&short);
                assert!(decoder.next_frame().is_err(), "cut at {cut} of {body:?}");
            }
        }
    }
}

#[test]
fn flipped_and_random_bytes_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for body in bodies() {
        let whole = encoded(1, &body);
        for _ in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..=random.byte() % 4 {
                let at = usize::try_from(random.next()).unwrap() % (bytes.len() - LENGTH) + LENGTH;
                bytes[at] = random.byte();
            }
            let mut decoder = FrameDecoder::new();
            decoder.push(&bytes);
            let _ = decoder.next_frame();
        }
    }
    for length in 0..600_u32 {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.push(random.byte() % 3);
        bytes.extend((0..length).map(|_| random.byte()));
        let mut decoder = FrameDecoder::new();
        decoder.push(&bytes);
        let _ = decoder.next_frame();
        let _ = exit::decode(&bytes);
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_buffered() {
    let mut decoder = FrameDecoder::with_limit(100);
    decoder.push(&101_u32.to_le_bytes());
    assert_eq!(decoder.next_frame(), Err(DecodeError::TooLong { length: 101, limit: 100 }));
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let mut bytes = exit::encode(&record());
    bytes.extend_from_slice(b"future");
    let grown = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&grown.to_le_bytes());
    assert_eq!(exit::decode(&bytes), Ok(record()));
}

#[test]
fn a_greeting_without_its_newest_field_is_an_older_shims() {
    let hello = |pause_pid| Reply::Hello {
        version: 1,
        pid: 7,
        sandbox_ready: true,
        containers: Vec::new(),
        pause_pid,
    };
    let mut bytes = reply(3, &hello(None));
    // The field is one byte, at the end of the frame and of the record that begins behind header and tag.
    bytes.pop();
    for at in [0, LENGTH + HEADER + 1] {
        bytes[at] -= 1;
    }
    let mut decoder = FrameDecoder::new();
    decoder.push(&bytes);
    assert_eq!(decoder.next_frame(), Ok(Some(Frame { id: 3, body: Body::Reply(hello(None)) })));
}

#[test]
fn an_exit_file_is_recognised_by_its_magic() {
    assert_eq!(exit::decode(&exit::encode(&record())), Ok(record()));
    assert!(exit::decode(b"").is_err());
    assert!(exit::decode(b"nonsense").is_err());
}
