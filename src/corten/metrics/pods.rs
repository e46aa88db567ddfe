//! Pods and containers by state, and what their supervisors weigh: asked of the engine when scraped.

use engine::Engine;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};
use std::sync::{Arc, Mutex};

/// Exports the engine's figures.
pub(crate) struct PodCollector {
    engine: Arc<Engine>,
    pods: IntGaugeVec,
    containers: IntGaugeVec,
    shims: IntGauge,
    shim_memory: IntGauge,
    record_failures: IntCounter,
    /// Held while it is brought up to date, or two scrapes would add the same difference.
    counting: Mutex<()>,
}

impl PodCollector {
    /// # Errors
    /// A name that Prometheus does not allow.
    pub(crate) fn new(engine: Arc<Engine>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            engine,
            pods: IntGaugeVec::new(Opts::new("corten_pods", "Pod sandboxes by state"), &["state"])?,
            containers: IntGaugeVec::new(Opts::new("corten_containers", "Containers by state"), &["state"])?,
            shims: IntGauge::new("corten_shims", "Supervisor processes, one a pod")?,
            shim_memory: IntGauge::new(
                "corten_shim_memory_bytes",
                "Proportional set size of all supervisors and pauses",
            )?,
            record_failures: IntCounter::new(
                "corten_record_write_failures_total",
                "Writes of records of pods and containers that failed, to the state or to the disk",
            )?,
            counting: Mutex::new(()),
        })
    }
}

impl Collector for PodCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.pods.desc();
        all.extend(self.containers.desc());
        all.extend(self.shims.desc());
        all.extend(self.shim_memory.desc());
        all.extend(self.record_failures.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut all = self.gauges();
        let _one_at_a_time = sys::sync::lock(&self.counting);
        let (known, now) = (self.record_failures.get(), self.engine.gauges_of_records().failures);
        self.record_failures.inc_by(now.saturating_sub(known));
        all.extend(self.record_failures.collect());
        all
    }
}

impl PodCollector {
    fn gauges(&self) -> Vec<MetricFamily> {
        let now = self.engine.gauges();
        let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.pods.with_label_values(&["ready"]), now.pods_ready);
        set(&self.pods.with_label_values(&["not_ready"]), now.pods_not_ready);
        set(&self.containers.with_label_values(&["created"]), now.containers_created);
        set(&self.containers.with_label_values(&["running"]), now.containers_running);
        set(&self.containers.with_label_values(&["exited"]), now.containers_exited);
        set(&self.shims, now.shims);
        set(&self.shim_memory, now.shim_memory);
        let mut all = self.pods.collect();
        all.extend(self.containers.collect());
        all.extend(self.shims.collect());
        all.extend(self.shim_memory.collect());
        all
    }
}
