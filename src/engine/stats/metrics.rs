//! ListPodSandboxMetrics: everything that cAdvisor would have counted of pods and containers.

use super::{Account, ContainerStats, Listed, PodStats, Processes, Stats};
use crate::blocking;
use crate::error::{EngineError, chain};
use crate::filter::{PodFilter, StateKind};
use crate::in_memory::{Container, Pod};
use crate::snapshot::ContainerView;
use oci::cgroup::{Counted, Detail};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use sys::sync::lock;

/// The load average's time constant.
const LOAD_SECONDS: f64 = 10.0;

/// A pod's figures.
#[derive(Debug, Clone)]
pub struct PodFigures {
    /// Usage.
    pub stats: PodStats,
    /// More of the pod's cgroup.
    pub detail: Detail,
    /// The cgroup, from the root of its hierarchy.
    pub cgroup: String,
    /// Its running containers.
    pub containers: Vec<ContainerFigures>,
}

/// A container's figures.
#[derive(Debug, Clone)]
pub struct ContainerFigures {
    /// Usage.
    pub stats: ContainerStats,
    /// Whose, with the limits that the kernel has.
    pub container: ContainerView,
    /// More of its cgroup.
    pub detail: Detail,
    /// The cgroup, from the root of its hierarchy.
    pub cgroup: String,
    /// Its processes.
    pub processes: Processes,
    /// Threads that ran, and that waited for a device, on average over the last ten seconds.
    pub load: (f64, f64),
    /// What its writable layer is on.
    pub filesystem: Filesystem,
}

/// A filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filesystem {
    /// The device, or what else is mounted.
    pub device: String,
    /// Bytes.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}

/// The moving average of a container's load.
#[derive(Default)]
pub(crate) struct Load(Mutex<Option<(Instant, f64, f64)>>);

impl Load {
    fn next(&self, now: Instant, running: u64, waiting: u64) -> (f64, f64) {
        #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 threads")]
        let (running, waiting) = (running as f64, waiting as f64);
        let mut last = lock(&self.0);
        let (running, waiting) = match *last {
            None => (running, waiting),
            Some((then, before, waited)) => {
                let kept = (-now.duration_since(then).as_secs_f64() / LOAD_SECONDS).exp();
                (before * kept + running * (1.0 - kept), waited * kept + waiting * (1.0 - kept))
            }
        };
        *last = Some((now, running, waiting));
        (running, waiting)
    }
}

impl Stats {
    /// ListMetricDescriptors: what this host counts at all. Looks at the host's files.
    ///
    /// # Errors
    /// When the reading ends unexpectedly.
    pub async fn counted(self: &Arc<Self>) -> Result<Counted, EngineError> {
        let stats = self.clone();
        blocking("reading what is counted", move || Ok(stats.limits.cgroups.counted())).await
    }

    /// ListPodSandboxMetrics: the figures of the ready pods, newest first, as `show` tells them to its lane, on the thread
    /// on which they are read; the lanes in order. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the reading ends unexpectedly.
    pub async fn pod_figures<L: Default + Send + 'static>(
        self: &Arc<Self>,
        show: impl Fn(&mut L, PodFigures) + Send + Sync + 'static,
    ) -> Result<Vec<L>, EngineError> {
        let stats = self.clone();
        let filesystem = blocking("looking at a filesystem", move || Ok(stats.layers_filesystem())).await?;
        let stats = self.clone();
        let read = move |lane: &mut L, pod: Listed| {
            if let Some(figures) = stats.figures(pod, &filesystem) {
                show(lane, figures);
            }
        };
        self.lanes.read(self.ready(PodFilter::default()), read).await
    }
}

impl Stats {
    fn figures(self: &Arc<Self>, (pod, brief): Listed, filesystem: &Filesystem) -> Option<PodFigures> {
        let failed = |error: &EngineError| {
            tracing::warn!(pod_id = %pod.id, error = chain(error), "the pod's figures cannot be read");
        };
        self.figures_of(&pod, self.of_listed(&pod, brief)?, filesystem).inspect_err(failed).ok()
    }

    fn figures_of(
        &self,
        pod: &Pod,
        mut stats: PodStats,
        filesystem: &Filesystem,
    ) -> Result<PodFigures, EngineError> {
        let mut containers = Vec::new();
        for stats in std::mem::take(&mut stats.containers) {
            let found = self.registry.any_container(&stats.id);
            let running = |container: &Arc<Container>| container.brief().state == StateKind::Running;
            if let Some(container) = found.filter(running) {
                containers.push(self.container_figures(&container, stats, filesystem)?);
            }
        }
        Ok(PodFigures {
            detail: pod.sampler.detail(&Account { host: &self.limits.cgroups, pod, container: None })?,
            cgroup: pod.cgroup.parent().to_string(),
            containers,
            stats,
        })
    }

    fn container_figures(
        &self,
        container: &Container,
        stats: ContainerStats,
        filesystem: &Filesystem,
    ) -> Result<ContainerFigures, EngineError> {
        let account = self.account_of(container);
        let mut view = container.view();
        if let Some(resources) = container.sampler.limits(|| self.limits.in_force(container, &view)) {
            view.resources = resources;
        }
        let mut processes = container.sampler.look_at(&account);
        processes.files_limit = view.pid.and_then(Processes::files_limit);
        let threads = processes.threads;
        Ok(ContainerFigures {
            detail: container.sampler.detail(&account)?,
            cgroup: container.cgroup().to_string(),
            load: container.load.next(Instant::now(), threads.running, threads.uninterruptible),
            processes,
            filesystem: filesystem.clone(),
            container: view,
            stats,
        })
    }

    fn layers_filesystem(&self) -> Filesystem {
        static DEVICE: OnceLock<String> = OnceLock::new();
        let dir = &*self.layers;
        let Ok(found) = rustix::fs::statvfs(dir) else { return Filesystem::default() };
        Filesystem {
            device: DEVICE.get_or_init(|| device_of(dir)).clone(),
            size: found.f_blocks.saturating_mul(found.f_frsize),
            inodes: found.f_files,
            inodes_free: found.f_ffree,
        }
    }
}

/// What the filesystem of a directory is mounted from, by the mount table.
fn device_of(dir: &Path) -> String {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = table.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        dir.starts_with(point).then_some((point.as_os_str().len(), filesystem.split(' ').nth(1)?))
    });
    // Of two at the same place the later one is seen.
    mounts.max_by_key(|(length, _)| *length).map(|(_, source)| source.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_load_decays_over_ten_seconds() {
        let load = Load::default();
        let begin = Instant::now();
        assert_eq!(load.next(begin, 4, 0), (4.0, 0.0));
        let (running, waiting) = load.next(begin + Duration::from_secs(10), 0, 1);
        assert!((running - 4.0 / std::f64::consts::E).abs() < 1e-9, "{running}");
        assert!((waiting - (1.0 - 1.0 / std::f64::consts::E)).abs() < 1e-9, "{waiting}");
    }

    #[test]
    fn a_directory_is_on_the_nearest_mount() {
        assert_eq!(device_of(Path::new("/proc/self")), "proc");
    }
}
