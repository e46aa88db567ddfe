//! What the engine counts as it happens.

use crate::error::EngineError;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::time::Duration;

/// From a cached plan to a plugin at its deadline.
const STAGE_SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 240.0];
/// How containers mostly end: these have series from the start.
const USUAL_EXITS: [(&str, &str); 5] =
    [("Completed", "0"), ("Error", "1"), ("Error", "137"), (OOM_KILLED, "137"), ("StartError", "128")];
/// The stages: these have series from the start, or the mean of the first few would be of nothing.
const STAGES: [&str; 17] = [
    "network",
    "netns",
    "cni_add",
    "supervisor",
    "spawn",
    "scope",
    "namespaces",
    "create",
    "plan",
    "root",
    "start",
    "nri",
    "kill_containers",
    "cni_del",
    "supervisor_end",
    "unmount",
    "scope_end",
];
/// The reason of containers that met their limit of memory.
const OOM_KILLED: &str = "OOMKilled";

/// The metrics of pods and containers.
#[derive(Debug)]
pub(crate) struct Metrics {
    stages: HistogramVec,
    exits: IntCounterVec,
    oom_kills: IntCounter,
    supervisor_deaths: IntCounter,
    unwritten: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> Result<Self, EngineError> {
        Self::new(registry).map_err(EngineError::Metrics)
    }

    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stages = HistogramVec::new(
            HistogramOpts::new(
                "corten_pod_stage_seconds",
                "Time that each stage of starting and stopping pods and containers takes.",
            )
            .buckets(STAGE_SECONDS.to_vec()),
            &["stage"],
        )?;
        let exits = IntCounterVec::new(
            Opts::new("corten_container_exits_total", "Containers that ended, by reason and exit code."),
            &["reason", "code"],
        )?;
        for stage in STAGES {
            let _begun = stages.with_label_values(&[stage]);
        }
        for (reason, code) in USUAL_EXITS {
            exits.with_label_values(&[reason, code]).reset();
        }
        let oom_kills = IntCounter::new(
            "corten_container_oom_kills_total",
            "Containers that the kernel killed because they met their limit of memory.",
        )?;
        let supervisor_deaths = IntCounter::new(
            "corten_shim_deaths_total",
            "Supervisors that went without being told to, and their pods' containers with them.",
        )?;
        registry.register(Box::new(stages.clone()))?;
        registry.register(Box::new(oom_kills.clone()))?;
        registry.register(Box::new(supervisor_deaths.clone()))?;
        let unwritten = IntGauge::new(
            "corten_records_not_durable",
            "Records of pods and containers that a reboot would lose, because writing them failed.",
        )?;
        registry.register(Box::new(exits.clone()))?;
        registry.register(Box::new(unwritten.clone()))?;
        Ok(Self { stages, exits, oom_kills, supervisor_deaths, unwritten })
    }

    /// How many records could not be made durable.
    pub(crate) fn unwritten(&self) -> IntGauge {
        self.unwritten.clone()
    }

    /// A stage of a verb took so long.
    pub(crate) fn stage(&self, name: &str, took: Duration) {
        self.stages.with_label_values(&[name]).observe(took.as_secs_f64());
    }

    /// A supervisor has died.
    pub(crate) fn supervisor_died(&self) {
        self.supervisor_deaths.inc();
    }

    /// A container ended. Codes are 0 to 255, so the series are bounded.
    pub(crate) fn exit(&self, reason: &str, code: i32) {
        if reason == OOM_KILLED {
            self.oom_kills.inc();
        }
        self.exits.with_label_values(&[reason, &(code & 0xff).to_string()]).inc();
    }
}
