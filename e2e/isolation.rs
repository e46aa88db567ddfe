//! A place for one scenario: mount and network namespaces of the calling thread's own, and a tmpfs for all state.
//!
//! Whatever the scenario mounts, links or filters ends with the namespaces, so neither a failure nor a second
//! scenario beside it can disturb the host. The one thing that is not namespaced is the cgroup tree: a scenario
//! puts its pods below [`Isolation::cgroup_parent`].

use crate::error::{Context, Error};
use crate::{command, process, tools};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use wire::naming::NAMELESS;

const SHARED_DIRECTORIES: [&str; 3] = ["/run/netns", "/var/lib/cni", "/run/nri"];

/// The namespaces and the directory of one scenario. It belongs to the thread that entered it: threads and processes
/// that this thread starts afterwards live inside too.
#[derive(Debug)]
pub struct Isolation {
    root: PathBuf,
    sweeper: Sweeper,
}

/// Ends everything that runs in an isolation; it may be used from any thread, for one when a signal comes.
#[derive(Debug, Clone)]
pub struct Sweeper {
    root: PathBuf,
    namespace: PathBuf,
}

impl Isolation {
    /// Whether this process may do what scenarios do.
    pub fn permitted() -> bool {
        need::root("namespaces and mounts need root")
    }

    /// Moves the calling thread into namespaces of its own.
    ///
    /// # Errors
    /// When a system call fails; most need root.
    pub fn enter() -> Result<Self, Error> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).map_err(system("unshare"))?;
        // Private first, so that nothing reaches the host; then shared, as a kubelet's host is.
        for propagation in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | propagation, None::<&str>)
                .map_err(system("change the propagation of /"))?;
        }
        let root = short_directory()?;
        tmpfs(&root)?;
        for directory in SHARED_DIRECTORIES {
            fs::create_dir_all(directory).at("create", directory)?;
            tmpfs(Path::new(directory))?;
        }
        let mut ip = Command::new(tools::system("ip")?);
        command::run(ip.args(["link", "set", "lo", "up"]), Duration::from_secs(60))?;
        let own = "/proc/thread-self/ns/mnt";
        let namespace = fs::read_link(own).at("read", own)?;
        let sweeper = Sweeper { root: root.clone(), namespace };
        Ok(Self { root, sweeper })
    }

    /// The directory of the scenario: an empty tmpfs with a short path, for sockets' sake.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory below the root, created when it is not there.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).at("create", &path)?;
        Ok(path)
    }

    /// The parent of all cgroups of the scenario, as CRI's `cgroup_parent` has it.
    pub fn cgroup_parent(&self) -> String {
        cgroup_parent(&self.root)
    }

    /// The processes of the scenario: those in its mount namespace, and those below its cgroup; without the supervisors
    /// that a daemon has started ahead and that wait for a pod, for as long as it lives.
    pub fn processes(&self) -> BTreeMap<i32, String> {
        let mut found = self.sweeper.processes();
        found.retain(|pid, line| !is_waiting(line) || daemon_of(*pid).is_none());
        found
    }

    /// Supervisors that wait for a pod, with the daemon that each of them is of, where that lives.
    pub fn waiting(&self) -> BTreeMap<i32, Option<i32>> {
        let found = self.sweeper.processes().into_iter().filter(|(_, line)| is_waiting(line));
        found.map(|(pid, _)| (pid, daemon_of(pid))).collect()
    }

    /// What can end it from another thread.
    pub fn sweeper(&self) -> Sweeper {
        self.sweeper.clone()
    }
}

impl Sweeper {
    /// For an isolation with this directory and this mount namespace, as `/proc/PID/ns/mnt` names it.
    pub fn new(root: &Path, namespace: &Path) -> Self {
        Self { root: root.to_path_buf(), namespace: namespace.to_path_buf() }
    }

    fn processes(&self) -> BTreeMap<i32, String> {
        let needle = format!("{}/", cgroup_parent(&self.root));
        let own = std::process::id().cast_signed();
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let inside = fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|link| link == self.namespace)
                || fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|text| text.contains(&needle));
            if inside && pid != own {
                found.insert(pid, describe(pid));
            }
        }
        found
    }

    /// Kills what still runs, and removes the cgroups and the directory. Scenarios that passed have left nothing for
    /// it to do but the latter.
    pub fn sweep(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let processes = self.processes();
            if processes.is_empty() || Instant::now() > end {
                break;
            }
            for pid in processes.keys() {
                // Gone already is as good.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for directory in cgroup_directories(&cgroup_parent(&self.root)) {
            // One that is still in use shows in the next look at the host.
            let _ = fs::remove_dir(&directory);
        }
        // Outside of the isolation it is an empty directory, and no mount.
        let _ = umount2(&self.root, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.root);
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        self.sweeper.sweep();
        for path in SHARED_DIRECTORIES {
            // The namespace ends soon in any case.
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

fn cgroup_parent(root: &Path) -> String {
    format!("/{}", root.file_name().unwrap_or_default().to_string_lossy())
}

/// Every cgroup directory below a parent, over all hierarchies, deepest first.
pub fn cgroup_directories(parent: &str) -> Vec<PathBuf> {
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    hierarchies
        .extend(fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        let top = hierarchy.join(parent.trim_start_matches('/'));
        if top.is_dir() {
            descend(&top, &mut found);
        }
    }
    found
}

fn descend(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), found);
        }
    }
    found.push(directory.to_path_buf());
}

fn is_waiting(line: &str) -> bool {
    line.strip_prefix("corten-shim ") == Some(NAMELESS)
}

/// Whose child a process is, where that is a daemon.
fn daemon_of(pid: i32) -> Option<i32> {
    let parent = process::stat(pid)?.get(1)?.parse().ok()?;
    describe(parent).contains(" serve ").then_some(parent)
}

fn describe(pid: i32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
    if text.is_empty() {
        return fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    }
    text
}

fn short_directory() -> Result<PathBuf, Error> {
    let made =
        tempfile::Builder::new().prefix("ce-").rand_bytes(6).tempdir_in("/run").at("create", "/run/ce-*")?;
    Ok(made.keep())
}

fn tmpfs(path: &Path) -> Result<(), Error> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=4g"))
        .map_err(system("mount a tmpfs"))
}

fn system(operation: &'static str) -> impl Fn(nix::Error) -> Error {
    move |source| Error::System { operation, source }
}
