//! A daemon that may have hardly any thread.

use super::Host;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cgroup that limits processes, gone with the test.
struct Few(PathBuf);

impl Few {
    fn new(name: &str) -> Option<Self> {
        let own = |parent: &str| Path::new(parent).join(format!("{name}-{}", std::process::id()));
        let hands_down = std::fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or_default();
        let directory = if Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists() {
            own("/sys/fs/cgroup/pids")
        } else if hands_down.split_whitespace().any(|controller| controller == "pids") {
            own("/sys/fs/cgroup")
        } else {
            need::skip(need::Need::Kernel, "no cgroup limits processes");
            return None;
        };
        std::fs::create_dir(&directory).unwrap();
        Some(Self(directory))
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_daemon_that_may_have_hardly_any_thread_says_so_and_ends() {
    let Some(host) = Host::new() else { return };
    let Some(few) = Few::new("corten-few") else { return };
    for most in 1..=8 {
        std::fs::write(few.0.join("pids.max"), most.to_string()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$1\" && exec \"$2\" serve --config \"$3\"", "sh"]);
        command
            .arg(few.0.join("cgroup.procs"))
            .arg(env!("CARGO_BIN_EXE_corten"))
            .arg(host.path("corten.toml"));
        let status = host.run(&mut command).end();
        let log = host.log();
        assert!(!log.contains("panicked"), "{most}: {log}");
        assert_eq!(status.code(), Some(1), "{most}: {log}");
        assert!(log.contains("Resource temporarily unavailable"), "{most}: {log}");
    }
}
