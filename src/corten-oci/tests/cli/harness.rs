//! A bundle whose root is made of the host's own programs, and the program under test with a root of its own.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Generous: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One container's bundle and state.
pub(crate) struct Bundle {
    dir: tempfile::TempDir,
    pub(crate) id: String,
}

impl Bundle {
    /// `None`, with the reason printed, where this process may not make containers.
    pub(crate) fn new(script: &str) -> Option<Self> {
        Self::with(script, |_| {})
    }

    /// With changes to the configuration.
    pub(crate) fn with(script: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        if !need::root("containers need root") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for name in ["usr", "proc", "dev", "tmp", "out"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            if Path::new("/").join(name).exists() {
                std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
            }
        }
        let id = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut config = config(script, &id, dir.path());
        change(&mut config);
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        Some(Self { dir, id })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the container wrote to a file of /out.
    pub(crate) fn out(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("rootfs/out").join(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten-oci"));
        command
            .arg("--root")
            .arg(self.path("state"))
            .arg("--log")
            .arg(self.path("log.json"))
            .args(["--log-format", "json"])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. Its output is a file: a container that lives on keeps a pipe open.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let file = |name: &str| std::fs::File::create(self.path(name)).unwrap();
        let status = self.command(args).stdout(file("stdout")).stderr(file("stderr")).status().unwrap();
        let read = |name: &str| std::fs::read(self.path(name)).unwrap();
        Output { status, stdout: read("stdout"), stderr: read("stderr") }
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {} {}", text, String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Runs a command that must fail; the message of its log.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeds");
        let log = std::fs::read_to_string(self.path("log.json")).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "error");
        last["msg"].as_str().unwrap().to_owned()
    }

    pub(crate) fn create(&self) -> String {
        let bundle = self.dir.path().to_str().unwrap().to_owned();
        self.ok(&["create", "--bundle", &bundle, "--pid-file", self.path("pid").to_str().unwrap(), &self.id])
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    pub(crate) fn wait_for(&self, status: &str) {
        let until = Instant::now() + PATIENCE;
        while self.state()["status"] != status {
            assert!(Instant::now() < until, "{} is not {status}", self.state());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a line of a file of /out.
    pub(crate) fn wait_out(&self, name: &str, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.out(name).contains(text) {
            assert!(Instant::now() < until, "{name} has {:?}", self.out(name));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn bundle(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Most are gone already; a failing test leaves one.
        let _ = self
            .command(&["delete", "--force", &self.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn config(script: &str, id: &str, dir: &Path) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "hostname": "inside",
        "process": {
            "args": ["sh", "-c", script], "cwd": "/", "user": { "uid": 0, "gid": 0 },
            "env": ["PATH=/usr/bin:/bin", "COLOUR=rust"]
        },
        "annotations": { "note": "kept" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
            { "destination": "/out", "type": "bind", "source": dir.join("rootfs/out"), "options": ["bind"] }
        ],
        "linux": {
            "cgroupsPath": format!("/corten-oci-test/{id}"),
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" }
            ]
        }
    })
}
