//! What a kubelet finds on its host: directories whose names it does not let one choose, and a cgroup to begin with.

use crate::error::{Context, Error};
use crate::isolation::Isolation;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The kubelet's own directory.
pub const KUBELET: &str = "/var/lib/kubelet";
/// The directories that get a tmpfs of the isolation's own.
const OWN: [&str; 3] = [KUBELET, "/var/log/containers", "/run/containerd"];

/// What everybody who stands on these directories has a lock of: who removes a directory takes it from under the mounts
/// of all namespaces.
const LOCK: &str = "/var/lib";

/// The directories and the cgroup; dropping it takes them away.
#[derive(Debug)]
pub struct Ground {
    made: Vec<PathBuf>,
    lock: File,
}

impl Ground {
    /// Makes them in an isolation that the calling thread has entered.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn prepare(isolation: &Isolation) -> Result<Self, Error> {
        let lock = File::open(LOCK).at("open", LOCK)?;
        lock.lock_shared().at("lock", LOCK)?;
        let mut ground = Self { made: Vec::new(), lock };
        for directory in OWN {
            let path = Path::new(directory);
            if !path.exists() {
                fs::create_dir_all(path).at("create", path)?;
                ground.made.push(path.to_path_buf());
            }
            mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
                .map_err(|source| Error::System { operation: "mount a tmpfs", source })?;
        }
        for hierarchy in hierarchies() {
            let own = hierarchy.join(isolation.cgroup_parent().trim_start_matches('/'));
            fs::create_dir_all(&own).at("create", &own)?;
            fill_cpuset(&hierarchy, &own)?;
        }
        Ok(ground)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for path in OWN {
            // The namespace ends soon in any case.
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
        if self.lock.try_lock().is_ok() {
            for path in &self.made {
                // What is in it by now is not ours.
                let _ = fs::remove_dir(path);
            }
        }
    }
}

/// A cpuset of version 1 begins empty, and nothing can join it: who makes one fills it, as the kubelet does.
fn fill_cpuset(top: &Path, own: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (above, here) = (top.join(file), own.join(file));
        let is_empty = fs::read_to_string(&here).is_ok_and(|list| list.trim().is_empty());
        if is_empty && top.join("cgroup.clone_children").exists() {
            let list = fs::read(&above).at("read", &above)?;
            fs::write(&here, list).at("write", &here)?;
        }
    }
    Ok(())
}

/// Where a cgroup has to be made: the unified tree, or every tree of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        return vec![top];
    }
    let entries = fs::read_dir(&top).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").exists()).collect()
}
