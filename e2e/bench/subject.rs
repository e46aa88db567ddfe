//! A runtime in the benchmark, and what is measured of it.

use crate::figures::percentile;
use e2e::client::Cri;
use e2e::proto::{ContainerStats, PodSandboxConfig};
use e2e::runtime::{Daemon, Kind};
use e2e::world::BUSYBOX;
use e2e::{Error, isolation::Isolation, pods, process};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// So many times the usage of all containers is asked for.
const STATS: usize = 20;

/// The steps of a pod's life, in order.
pub(crate) const STEPS: [&str; 6] =
    ["RunPodSandbox", "CreateContainer", "StartContainer", "pod start", "ExecSync", "stop+remove"];
/// The index of the sum of the first three.
pub(crate) const POD_START: usize = 3;

/// A runtime with its measurements.
pub(crate) struct Subject {
    /// Its column's head.
    pub(crate) name: &'static str,
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// A connection to it.
    pub(crate) cri: Cri,
    /// Nanoseconds a step, one for each pod.
    pub(crate) times: [Vec<u128>; STEPS.len()],
    /// Pods started and ended a second, with several in parallel.
    pub(crate) parallel: Option<Parallel>,
    /// KiB of the idle daemon.
    pub(crate) idle_pss: u64,
    logs: PathBuf,
    parent: String,
}

/// What the parallel part measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parallel {
    /// Pods started a second.
    pub(crate) starts: f64,
    /// Pods stopped and removed a second.
    pub(crate) ends: f64,
    /// KiB of shims and pauses for each pod.
    pub(crate) pod_pss: f64,
    /// KiB of the daemon while the pods run.
    pub(crate) daemon_pss: u64,
    /// Milliseconds of one ListContainerStats of all their containers, p50.
    pub(crate) stats: f64,
}

impl Subject {
    /// Connects, pulls the image and runs two pods that nobody measures.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn new(
        name: &'static str,
        daemon: Daemon,
        isolation: &Isolation,
    ) -> Result<Self, Error> {
        let cri = daemon.client().await?;
        cri.pull(BUSYBOX, None).await?;
        let logs = isolation.directory("logs")?;
        let parent = isolation.cgroup_parent();
        let mut subject =
            Self { name, daemon, cri, times: Default::default(), parallel: None, idle_pss: 0, logs, parent };
        for number in 0..2 {
            Box::pin(subject.one(&format!("warm-{number}"))).await?;
        }
        subject.times = Default::default();
        tokio::time::sleep(Duration::from_secs(1)).await;
        subject.idle_pss = pss(subject.daemon.pid());
        Ok(subject)
    }

    /// Starts a daemon in the place of one that has ended, and connects to it; how long it took until that one served.
    ///
    /// # Errors
    /// When it does not serve.
    pub(crate) async fn restart(&mut self) -> Result<Duration, Error> {
        let begin = Instant::now();
        self.daemon.restart()?;
        let answers = begin.elapsed();
        self.cri = self.daemon.client().await?;
        Ok(answers)
    }

    /// What a pod of this name is asked for as; its directory of logs is there.
    ///
    /// # Errors
    /// When that cannot be made.
    pub(crate) fn config(&self, name: &str) -> Result<PodSandboxConfig, Error> {
        let name =
            format!("{}-{name}", self.daemon.place().root.file_name().unwrap_or_default().to_string_lossy());
        let config = pods::pod(&name, &self.logs, &self.parent);
        let directory = Path::new(&config.log_directory);
        std::fs::create_dir_all(directory).map_err(|source| Error::Io {
            operation: "create",
            path: directory.to_path_buf(),
            source,
        })?;
        Ok(config)
    }

    /// One pod from beginning to end.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn one(&mut self, name: &str) -> Result<(), Error> {
        let config = self.config(name)?;
        let container = pods::container("main", BUSYBOX, &["/bin/sleep", "1000000"]);
        let begin = Instant::now();
        let pod = self.cri.run_pod(&config).await?;
        let ran = begin.elapsed();
        let id = self.cri.create(&pod, &container, &config).await?;
        let created = begin.elapsed();
        self.cri.start(&id).await?;
        let started = begin.elapsed();
        let reply = self.cri.exec(&id, &["/bin/true"], 10).await?;
        let executed = begin.elapsed();
        if reply.exit_code != 0 {
            return Err(Error::Invalid {
                reason: format!("{}: an exec ended with {}", self.name, reply.exit_code),
            });
        }
        let ending = Instant::now();
        self.cri.end_pod(&pod).await?;
        let ended = ending.elapsed();
        let steps = [ran, created - ran, started - created, started, executed - started, ended];
        for (times, step) in self.times.iter_mut().zip(steps) {
            times.push(step.as_nanos());
        }
        Ok(())
    }

    /// Many pods, several at a time; they all run at once, and then they all go.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn many(
        &mut self,
        count: usize,
        workers: usize,
        isolation: &Isolation,
    ) -> Result<(), Error> {
        let begin = Instant::now();
        let pods = self.fill("many", count, workers).await?;
        let starts = rate(count, begin.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let supervisors: u64 = isolation
            .processes()
            .iter()
            .filter(|(_, line)| self.supervises(line))
            .map(|(pid, _)| pss(*pid))
            .sum();
        // What waits for a pod is nobody's yet.
        let waiting: u64 = isolation.waiting().into_keys().map(pss).sum();
        let daemon_pss = pss(self.daemon.pid()) + waiting;
        let stats = self.stats(count).await?;
        let begin = Instant::now();
        self.empty(pods, workers).await?;
        let ends = rate(count, begin.elapsed());
        #[allow(clippy::cast_precision_loss)]
        let pod_pss = supervisors as f64 / count as f64;
        self.parallel = Some(Parallel { starts, ends, pod_pss, daemon_pss, stats });
        Ok(())
    }

    /// Starts so many pods of a name and a number, several at a time; their ids.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn fill(&self, name: &str, count: usize, workers: usize) -> Result<Vec<String>, Error> {
        let configs = (0..count)
            .map(|number| self.config(&format!("{name}-{number}")))
            .collect::<Result<Vec<_>, _>>()?;
        each(workers, configs.into_iter().map(|config| start(self.cri.clone(), config))).await
    }

    /// Stops and removes pods, several at a time.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn empty(&self, pods: Vec<String>, workers: usize) -> Result<(), Error> {
        let end = |pod: String| {
            let cri = self.cri.clone();
            async move { cri.end_pod(&pod).await }
        };
        each(workers, pods.into_iter().map(end)).await.map(drop)
    }

    /// What ListContainerStats of so many containers takes, after a first one that nobody measures.
    async fn stats(&self, count: usize) -> Result<f64, Error> {
        let mut times = Vec::new();
        for _ in 0..=STATS {
            let begin = Instant::now();
            let listed = self.cri.container_stats().await?;
            times.push(begin.elapsed().as_nanos());
            let counted = |one: &&ContainerStats| one.cpu.as_ref().is_some_and(|cpu| cpu.timestamp > 0);
            let counted = listed.iter().filter(counted).count();
            if counted != count {
                let reason = format!("{}: {counted} of {count} containers have usage", self.name);
                return Err(Error::Invalid { reason });
            }
        }
        Ok(percentile(&times[1..], 50))
    }

    /// Whether a process belongs to a pod but is no container: a shim or a pause.
    fn supervises(&self, line: &str) -> bool {
        let program = line.split(' ').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        match self.daemon.kind() {
            Kind::Corten => ["corten-shim", "corten-pause"].contains(&program),
            Kind::Containerd => ["containerd-shim-runc-v2", "pause"].contains(&program),
        }
    }
}

async fn start(cri: Cri, config: PodSandboxConfig) -> Result<String, Error> {
    let container = pods::container("main", BUSYBOX, &["/bin/sleep", "1000000"]);
    let pod = cri.run_pod(&config).await?;
    let id = cri.create(&pod, &container, &config).await?;
    cri.start(&id).await?;
    Ok(pod)
}

/// Carries out so many at a time.
///
/// # Errors
/// The first of theirs.
pub(crate) async fn each<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
    workers: usize,
    items: impl Iterator<Item = F>,
) -> Result<Vec<T>, Error> {
    let permits = Arc::new(Semaphore::new(workers));
    let mut set = JoinSet::new();
    for item in items {
        let permits = Arc::clone(&permits);
        set.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await.ok();
            item.await
        });
    }
    set.join_all().await.into_iter().collect()
}

#[allow(clippy::cast_precision_loss)]
fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// The proportional set size of a process in KiB, nothing of one that has gone.
pub(crate) fn pss(pid: i32) -> u64 {
    process::counted(pid, "Pss").unwrap_or_default()
}

/// What `/proc` says of each of a process's mappings.
pub(crate) fn smaps(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default()
}
