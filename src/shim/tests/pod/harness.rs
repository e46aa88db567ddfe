//! A shim of one's own, on a socket and with cgroups of its own; everything is gone when it is dropped.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sys::shim_spawn::{Given, ShimProcess, spawn_shim};
use wire::msg::{ExitRecord, Reply, Request};
use wire::plan::{
    CgroupPlan, ContainerPlan, DevicePlan, ExecPlan, IdMaps, MountPlan, MountSource, PidNamespace,
    ProcessPlan, RootfsPlan, SandboxPlan, Stdio,
};

pub(crate) use crate::conn::Conn;
use crate::conn::PATIENCE;

static NUMBER: AtomicU32 = AtomicU32::new(0);
pub(crate) const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// `None`, with the reason printed, where the tests cannot run.
pub(crate) fn busybox() -> Option<PathBuf> {
    if !need::root("needs root") {
        return None;
    }
    let found = ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        need::skip(need::Need::Tools, "needs busybox (Debian: busybox-static or busybox)");
    }
    found
}

/// `None`, with the reason printed, where no pause is named.
pub(crate) fn pause() -> Option<PathBuf> {
    let pause = std::env::var_os("CORTEN_TEST_PAUSE").filter(|path| !path.is_empty());
    if pause.is_none() {
        need::skip(need::Need::Tools, "CORTEN_TEST_PAUSE names no corten-pause");
    }
    pause.map(PathBuf::from)
}

pub(crate) struct Pod {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) shim: ShimProcess,
    cgroups: Vec<PathBuf>,
    pub(crate) cgroup: CgroupPlan,
    pub(crate) conn: Conn,
    has_shut_down: bool,
}

/// The libraries that a busybox which is not static wants, by their absolute paths.
fn libraries(program: &Path) -> Vec<String> {
    let output = std::process::Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

/// The binary under test; the environment may name an optimised one.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("CORTEN_TEST_SHIM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_corten-shim")), PathBuf::from)
}

impl Pod {
    pub(crate) fn new(busybox: &Path) -> Self {
        Self::with(busybox, |_| {})
    }

    pub(crate) fn with(busybox: &Path, adjust: impl FnOnce(&mut SandboxPlan)) -> Self {
        // An old kernel, or what passes for one, has none.
        Self::given(busybox, sys::bare::make().ok().as_ref(), adjust)
    }

    /// With this to make containers' mount namespaces of.
    pub(crate) fn given(
        busybox: &Path,
        bare: Option<&OwnedFd>,
        adjust: impl FnOnce(&mut SandboxPlan),
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("corten-shim-").tempdir().unwrap();
        for name in ["layer/bin", "layer/etc", "layer/tmp", "exits", "logs", "root"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::fs::copy(busybox, dir.path().join("layer/bin/busybox")).unwrap();
        for library in libraries(busybox) {
            let copy = dir.path().join("layer").join(library.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(library, copy).unwrap();
        }
        for name in
            ["sh", "cat", "sleep", "id", "ls", "stat", "head", "dd", "setsid", "readlink", "grep", "tr"]
        {
            symlink("busybox", dir.path().join("layer/bin").join(name)).unwrap();
        }
        let socket = dir.path().join("shim.sock");
        let listener = sys::socket::listen(&socket).unwrap();
        let log = std::fs::File::create(dir.path().join("shim.log")).unwrap();
        let args = [CString::new("corten-shim").unwrap()];
        let bare = bare.map(AsFd::as_fd);
        let given = Given { socket: listener.as_fd(), bare, log: Some(log.as_fd()) };
        let shim = spawn_shim(&binary(), given, &args, &[]).unwrap();
        let (cgroups, cgroup) = make_cgroups();
        let mut conn = Conn::open(&socket);
        assert!(conn.hello().is_empty());
        let mut plan = SandboxPlan {
            id: "sandbox".to_owned(),
            new_ipc: true,
            new_uts: true,
            hostname: b"pod-host".to_vec(),
            exits: bytes(&dir.path().join("exits")),
            oom_score_adj: -999,
            ..SandboxPlan::default()
        };
        adjust(&mut plan);
        let reply = conn.ask(&Request::Sandbox(plan));
        assert!(matches!(reply, Reply::Sandbox { .. }), "{reply:?}");
        Self { dir, shim, cgroups, cgroup, conn, has_shut_down: false }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn plan(&self, id: &str, script: &str) -> ContainerPlan {
        for name in ["upper", "work"] {
            std::fs::create_dir_all(self.path(&format!("{id}/{name}"))).unwrap();
        }
        ContainerPlan {
            runtime: None,
            id: id.to_owned(),
            stdio: Stdio { log_path: bytes(&self.path(&format!("logs/{id}.log"))), ..Stdio::default() },
            cgroup: self.cgroup.clone(),
            pid_namespace: PidNamespace::New,
            rootfs: RootfsPlan {
                directory: Vec::new(),
                label: Vec::new(),
                layers: vec![bytes(&self.path("layer"))],
                upper: bytes(&self.path(&format!("{id}/upper"))),
                work: bytes(&self.path(&format!("{id}/work"))),
                mountpoint: bytes(&self.path("root")),
                readonly: false,
                propagation: 0,
            },
            mounts: vec![
                filesystem("/proc", "proc", "", 0xe),
                filesystem("/dev", "tmpfs", "mode=755,size=65536k", 2),
                filesystem("/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", 0xa),
                filesystem("/sys", "sysfs", "", 0xf),
            ],
            devices: [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)]
                .map(|(name, minor)| DevicePlan {
                    path: format!("/dev/{name}").into_bytes(),
                    mode: 0o20666,
                    major: 1,
                    minor,
                    uid: 0,
                    gid: 0,
                })
                .to_vec(),
            symlinks: vec![(b"/proc/self/fd".to_vec(), b"/dev/fd".to_vec())],
            process: process(&["/bin/sh", "-c", script]),
            ..ContainerPlan::default()
        }
    }

    pub(crate) fn create(&mut self, plan: &ContainerPlan) -> i32 {
        match self.conn.ask(&Request::Create(plan.clone())) {
            Reply::Created { pid } => pid,
            other => panic!("create: {other:?}; {}", self.shim_log()),
        }
    }

    pub(crate) fn start(&mut self, id: &str) {
        let reply = self.conn.ask(&Request::Start { id: id.to_owned() });
        assert!(matches!(reply, Reply::Started { started_at_ns: 1.., .. }), "{reply:?}");
    }

    pub(crate) fn run(&mut self, plan: &ContainerPlan) -> i32 {
        let pid = self.create(plan);
        self.start(&plan.id);
        pid
    }

    /// Runs a script to its end and gives its output.
    pub(crate) fn output(&mut self, plan: &ContainerPlan) -> (ExitRecord, String) {
        self.run(plan);
        let record = self.conn.exit(&plan.id);
        (record, self.log_text(&plan.id))
    }

    pub(crate) fn exec(&mut self, container: &str, argv: &[&str], timeout_ms: u64) -> Reply {
        let plan = self.exec_plan(container, argv, timeout_ms);
        self.conn.ask(&Request::Exec(plan))
    }

    pub(crate) fn exec_plan(&self, container: &str, argv: &[&str], timeout_ms: u64) -> ExecPlan {
        ExecPlan {
            runtime: Vec::new(),
            size: (0, 0),
            container: container.to_owned(),
            cgroup: self.cgroup.clone(),
            process: process(argv),
            timeout_ms,
            output_cap: 1 << 20,
            drain_ms: 300,
        }
    }

    pub(crate) fn log_lines(&self, id: &str) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(self.path(&format!("logs/{id}.log"))).unwrap();
        text.lines()
            .map(|line| {
                let parts: Vec<&str> = line.splitn(4, ' ').collect();
                (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
            })
            .collect()
    }

    pub(crate) fn log_text(&self, id: &str) -> String {
        self.log_lines(id).into_iter().map(|(_, _, text)| text).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn shim_log(&self) -> String {
        std::fs::read_to_string(self.path("shim.log")).unwrap()
    }

    /// As the kernel's OOM killer would.
    pub(crate) fn kill_shim(&mut self) {
        self.has_shut_down = true;
        sys::process::signal(self.shim.pidfd.as_fd(), 9).unwrap();
    }

    pub(crate) fn shut_down(&mut self) {
        if std::mem::replace(&mut self.has_shut_down, true) {
            return;
        }
        assert_eq!(self.conn.ask(&Request::Shutdown), Reply::Ok);
        let since = Instant::now();
        while std::fs::read_to_string(format!("/proc/{}/stat", self.shim.pid))
            .is_ok_and(|stat| !stat.contains(") Z"))
        {
            assert!(since.elapsed() < PATIENCE, "the shim stays");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("shim: {}", self.shim_log());
            let _ = sys::process::signal(self.shim.pidfd.as_fd(), 9);
        } else {
            self.shut_down();
        }
        for dir in &self.cgroups {
            for _ in 0..200 {
                if sys::cgroup::kill_all(dir) && sys::cgroup::remove(dir).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn make_cgroups() -> (Vec<PathBuf>, CgroupPlan) {
    let name = format!("corten-shim-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let root = Path::new("/sys/fs/cgroup");
    let make = |parent: &str| {
        let dir = root.join(parent).join(&name);
        (root.join(parent).join("cgroup.procs").exists() && std::fs::create_dir(&dir).is_ok()).then_some(dir)
    };
    let mut plan = CgroupPlan::default();
    let mut made = Vec::new();
    for controller in ["memory", "pids", "freezer"] {
        if let Some(dir) = make(controller) {
            plan.v1.push(bytes(&dir));
            match controller {
                "memory" => plan.oom = Some(bytes(&dir)),
                "freezer" => plan.kill = Some(bytes(&dir)),
                _ => {}
            }
            made.push(dir);
        }
    }
    if let Some(dir) = make(if plan.v1.is_empty() { "." } else { "unified" }) {
        plan.v2 = Some(bytes(&dir));
        plan.oom.get_or_insert(bytes(&dir));
        plan.kill.get_or_insert(bytes(&dir));
        made.push(dir);
    }
    (made, plan)
}

pub(crate) fn process(argv: &[&str]) -> ProcessPlan {
    let defaults = 0x2000_05fb;
    ProcessPlan {
        argv: argv.iter().map(|text| text.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec(), b"GREETING=hello".to_vec()],
        cwd: b"/".to_vec(),
        bounding: defaults,
        effective: defaults,
        permitted: defaults,
        ..ProcessPlan::default()
    }
}

pub(crate) fn filesystem(target: &str, fstype: &str, data: &str, attributes: u64) -> MountPlan {
    MountPlan {
        target: target.as_bytes().to_vec(),
        source: MountSource::Filesystem {
            fstype: fstype.as_bytes().to_vec(),
            source: fstype.as_bytes().to_vec(),
            data: data.as_bytes().to_vec(),
        },
        attributes,
        cleared: 0,
        deep_attributes: 0,
        deep_cleared: 0,
        propagation: 0,
        idmap: IdMaps::default(),
        idmap_recursive: false,
    }
}

pub(crate) fn bind(source: &Path, target: &str, attributes: u64) -> MountPlan {
    MountPlan {
        target: target.as_bytes().to_vec(),
        source: MountSource::Bind { path: bytes(source), recursive: true },
        attributes,
        cleared: 0,
        deep_attributes: 0,
        deep_cleared: 0,
        propagation: 0,
        idmap: IdMaps::default(),
        idmap_recursive: false,
    }
}
