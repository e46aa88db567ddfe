//! Figures for the metrics, gathered when they are scraped.

use crate::Engine;
use crate::filter::StateKind;
use model::SandboxState;

/// Counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Pods that are ready.
    pub pods_ready: u64,
    /// Pods that are stopped or broken.
    pub pods_not_ready: u64,
    /// Containers that wait for their start.
    pub containers_created: u64,
    /// Containers that run.
    pub containers_running: u64,
    /// Containers that have ended.
    pub containers_exited: u64,
    /// Supervisors.
    pub shims: u64,
    /// Proportional set size of all supervisors and pauses, in bytes.
    pub shim_memory: u64,
}

/// What is known of the writing of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordGauges {
    /// Records that a reboot would lose.
    pub not_durable: u64,
    /// Writes that failed since the daemon began.
    pub failures: u64,
}

impl Engine {
    /// How the writing of records goes.
    pub fn gauges_of_records(&self) -> RecordGauges {
        let not_durable = self.core.metrics.unwritten().get();
        RecordGauges {
            not_durable: u64::try_from(not_durable).unwrap_or_default(),
            failures: crate::record::FAILURES.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// The figures now. Reads one file of /proc a pod.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        for pod in self.core.registry.pods() {
            match pod.state() {
                SandboxState::Ready => gauges.pods_ready += 1,
                SandboxState::NotReady => gauges.pods_not_ready += 1,
                SandboxState::Creating => {}
            }
            let shim = pod.supervisor_pid();
            gauges.shims += u64::from(shim.is_some());
            let pause = pod.pid().filter(|pid| Some(*pid) != shim);
            gauges.shim_memory += shim.into_iter().chain(pause).map(pss).sum::<u64>();
        }
        for container in self.core.registry.containers() {
            match StateKind::of(&container.state()) {
                StateKind::Created => gauges.containers_created += 1,
                StateKind::Running => gauges.containers_running += 1,
                StateKind::Exited => gauges.containers_exited += 1,
            }
        }
        gauges
    }
}

fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0u64) * 1024
}
