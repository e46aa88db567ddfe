//! The pod's part of the tree of cgroups, by whichever driver.

use crate::error::EngineError;
use crate::in_memory::{Container, Pod};
use crate::record::PodRecord;
use crate::registry::Registry;
use crate::{Engine, blocking};
use oci::cgroup::{self, CgroupPath, Driver, PodCgroup};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use wire::plan::CgroupPlan;

/// The setting that names the parent of pods that ask for none.
const DEFAULT_PARENT: &str = "runtime.cgroup_parent";

/// How many digits the ids of pods and containers have.
const ID_LENGTH: usize = 64;

/// The pods' part of the tree of cgroups, and who makes it.
pub(crate) struct Tree {
    cgroups: Arc<cgroup::Host>,
    driver: Driver,
    systemd: systemd::Systemd,
    /// As it is set; empty: the driver's.
    default_parent: String,
    registry: Arc<Registry>,
    /// Directories that were made for pods and are there: a pod that is in one as well is to remove it, where it is the last.
    made: Mutex<BTreeSet<PathBuf>>,
    /// Held while a pod gets its nameplate: that takes the kernel's lock of all cgroups, for which starts of pods are to
    /// wait for one at most.
    pub(super) plating: tokio::sync::Mutex<()>,
    /// Read by what makes slices of systemd, written by what stops them.
    slices: tokio::sync::RwLock<()>,
}

impl Engine {
    /// Whether pods get scopes of systemd.
    pub fn uses_systemd(&self) -> bool {
        self.core.tree.driver() == Driver::Systemd
    }
}

impl Tree {
    pub(crate) fn new(
        cgroups: Arc<cgroup::Host>,
        driver: Driver,
        default_parent: String,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            cgroups,
            driver,
            systemd: systemd::Systemd::default(),
            default_parent,
            registry,
            made: Mutex::default(),
            plating: tokio::sync::Mutex::default(),
            slices: tokio::sync::RwLock::default(),
        }
    }

    /// Who makes scopes or directories.
    pub(crate) fn driver(&self) -> Driver {
        self.driver
    }

    /// The parent of a new pod's cgroups: as asked for, or one of its own.
    pub(crate) fn parent(&self, id: &str, asked: &str) -> Result<String, EngineError> {
        if asked.is_empty() {
            return Ok(self.driver.own_parent(DEFAULT_PARENT, self.default_parent(), id)?);
        }
        self.driver.check("config.linux.cgroup_parent", asked)?;
        Ok(asked.to_owned())
    }

    fn default_parent(&self) -> &str {
        match self.default_parent.as_str() {
            "" => self.driver.default_parent(),
            set => set,
        }
    }

    /// The directories that will be made for a pod, and those above it that were made for others, parents first. Those
    /// of its scope are systemd's to remove.
    pub(super) fn dirs(&self, pod: &Pod) -> Vec<PathBuf> {
        let mut made = lock(&self.made);
        let absent = match pod.cgroup.scope() {
            None => self.cgroups.sandbox_dirs(pod.cgroup.top(), pod.cgroup.supervisor()),
            Some(_) => self.cgroups.absent_dirs(pod.cgroup.parent()),
        };
        let mut dirs = self.shared(pod, &made);
        dirs.retain(|dir| !absent.contains(dir));
        made.extend(absent.iter().cloned());
        dirs.extend(absent);
        dirs
    }

    /// Of the directories of a pod that nobody has a record of those that nobody else has: those with its id in their
    /// names, and those of its containers.
    pub(crate) fn dirs_called(&self, record: &PodRecord) -> Result<Vec<PathBuf>, EngineError> {
        let cgroup = PodCgroup::new(DEFAULT_PARENT, &record.cgroup_parent, &record.id)?;
        let mut dirs = self.cgroups.parent_dirs(cgroup.parent());
        if cgroup.scope().is_none() {
            dirs.extend(self.cgroups.supervisor_dirs(cgroup.top(), cgroup.supervisor()));
        }
        let containers: Vec<PathBuf> = dirs.iter().flat_map(|dir| self.unknown_below(dir)).collect();
        dirs.retain(|dir| dir.iter().any(|part| part.to_string_lossy().contains(record.id.as_str())));
        dirs.extend(containers);
        Ok(dirs)
    }

    /// The cgroups in one that are called as those of containers, and of none that is known.
    fn unknown_below(&self, dir: &Path) -> Vec<PathBuf> {
        let is_unknown = |name: &str| {
            let is_id = name.len() == ID_LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_id && self.registry.any_container(name).is_none() && self.registry.pod(name).is_err()
        };
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let unknown = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_unknown));
        unknown.map(|entry| entry.path()).collect()
    }

    /// Takes note of directories that a former daemon made.
    pub(crate) fn remember(&self, dirs: &[PathBuf]) {
        lock(&self.made).extend(dirs.iter().cloned());
    }

    /// What was made for pods of a pod's lineage, parents first.
    fn shared(&self, pod: &Pod, made: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let mut lineage = self.cgroups.parent_dirs(pod.cgroup.parent());
        lineage.retain(|dir| made.contains(dir));
        lineage
    }

    /// What may go with a pod, where no other is in it.
    fn made_for(&self, pod: &Pod, made: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let mut dirs = self.shared(pod, made);
        let own = pod.record().cgroups;
        dirs.retain(|dir| !own.contains(dir));
        dirs.extend(own);
        dirs
    }

    /// Finds or makes the cgroup that a pod's supervisor is to join; `None` where it is to be put into a scope.
    pub(super) fn make(&self, pod: &Pod) -> Result<Option<CgroupPlan>, EngineError> {
        if pod.cgroup.scope().is_some() {
            return Ok(None);
        }
        // A parent that several pods share must not be removed between its being found and its being used.
        let _shared = lock(&self.made);
        let made = self.cgroups.create_sandbox(pod.cgroup.top(), pod.cgroup.supervisor())?;
        Ok(Some(made.plan))
    }

    /// Lets systemd move the supervisor into a scope, and makes its cgroup there.
    pub(super) async fn enter_scope(&self, pod: &Arc<Pod>, pid: i32) -> Result<CgroupPlan, EngineError> {
        if let Some(scope) = pod.cgroup.scope() {
            let name = &pod.config().metadata;
            let scope = systemd::Scope {
                unit: &scope.unit,
                slice: &scope.slice,
                description: &format!("Corten pod {}/{}", name.namespace, name.name),
                pid: pid.unsigned_abs(),
            };
            // As above, for slices. Boxed: D-Bus makes for a large future.
            let _shared = self.slices.read().await;
            Box::pin(self.systemd.start_scope(&scope)).await?;
        }
        let (cgroups, held) = (self.cgroups.clone(), pod.clone());
        let settle = move || Ok(cgroups.settle(held.cgroup.top(), held.cgroup.supervisor(), pid)?);
        blocking("making a cgroup", settle).await
    }

    /// Removes a container's cgroup, and kills what is still in it.
    pub(crate) fn remove(&self, container: &Container) -> Result<(), EngineError> {
        let cgroup = container.cgroup();
        if self.cgroups.remove(&cgroup).is_err() {
            self.cgroups.kill(&cgroup)?;
            self.cgroups.remove(&cgroup)?;
        }
        Ok(())
    }

    /// Makes the cgroup by which a pod is known, where its cgroups have none of its name.
    pub(super) fn make_nameplate(&self, pod: &Pod) -> Result<(), EngineError> {
        let Some(path) = pod.cgroup.nameplate() else { return Ok(()) };
        Ok(self.cgroups.make_nameplate(&path)?)
    }

    /// Removes it, whichever daemon made it.
    pub(super) fn remove_nameplate(&self, pod: &Pod) {
        if let Some(path) = pod.cgroup.nameplate() {
            self.cgroups.remove_nameplate(&path);
        }
    }

    /// Removes the directories that were made for a pod. A parent that several pods share goes with the last of them,
    /// whichever of them it was made for. Slices are [`Tree::release_scope`]'s.
    pub(super) fn release(&self, pod: &Pod) {
        let mut made = lock(&self.made);
        let dirs = self.made_for(pod, &made);
        self.remove_unused(&pod.id, dirs, &mut made);
    }

    fn remove_unused(&self, pod: &str, mut dirs: Vec<PathBuf>, made: &mut BTreeSet<PathBuf>) {
        let used = self.used_cgroups(pod);
        dirs.retain(|dir| !is_slice(dir) && !is_used(dir, &used));
        self.cgroups.remove_dirs(&dirs);
        for dir in dirs.iter().filter(|dir| !dir.exists()) {
            made.remove(dir);
        }
    }

    /// Ends a pod's scope, which has no process any more, and the slices that were made for it and hold nothing else.
    pub(super) async fn release_scope(&self, pod: &Pod) -> Result<(), EngineError> {
        let Some(scope) = pod.cgroup.scope() else { return Ok(()) };
        // Its own processes gone, systemd may have ended it already.
        if self.cgroups.exists(pod.cgroup.top()) {
            Box::pin(self.systemd.stop(&scope.unit)).await?;
        }
        let _alone = self.slices.write().await;
        let slices = self.made_for(pod, &lock(&self.made));
        self.stop_unused(&pod.id, slices).await
    }

    /// Stops slices that no other pod than this one uses.
    async fn stop_unused(&self, pod: &str, dirs: Vec<PathBuf>) -> Result<(), EngineError> {
        let used = self.used_cgroups(pod);
        let unused: BTreeSet<PathBuf> =
            dirs.into_iter().filter(|dir| is_slice(dir) && !is_used(dir, &used)).collect();
        // The deepest first. Somebody else's unit may live in a slice by now: it stays, as a directory would.
        for dir in unused.into_iter().rev().filter(|dir| oci::cgroup::is_vacant(dir)) {
            if let Some(unit) = dir.file_name().and_then(OsStr::to_str) {
                Box::pin(self.systemd.stop(unit)).await?;
            }
            lock(&self.made).remove(&dir);
        }
        Ok(())
    }

    /// Frees the default parent: a former daemon may have made it for a pod that it never recorded.
    pub(crate) async fn release_default_parent(&self) -> Result<(), EngineError> {
        let parent = PodCgroup::new(DEFAULT_PARENT, self.default_parent(), "")?;
        let dirs = self.cgroups.parent_dirs(parent.parent());
        if self.driver == Driver::Systemd {
            let _alone = self.slices.write().await;
            return self.stop_unused("", dirs).await;
        }
        self.remove_unused("", dirs, &mut lock(&self.made));
        Ok(())
    }

    /// The cgroups of all pods but this one, and everything above them, relative to a hierarchy's root.
    fn used_cgroups(&self, pod: &str) -> Vec<PathBuf> {
        self.registry
            .pods()
            .into_iter()
            .filter(|other| other.id != pod && !other.is_released())
            .flat_map(|other| lineage(other.cgroup.parent()))
            .collect()
    }
}

fn is_used(dir: &Path, used: &[PathBuf]) -> bool {
    used.iter().any(|path| dir.ends_with(path))
}

fn is_slice(dir: &Path) -> bool {
    dir.extension().is_some_and(|extension| extension == "slice")
}

fn lineage(path: &CgroupPath) -> Vec<PathBuf> {
    let path = path.to_string();
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned).collect()
}
