//! Prometheus metrics of plugin calls.

use crate::Result;
use cni::types::Command;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use std::time::Duration;

/// How a plugin ran, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    InProcess,
    Executed,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in_process",
            Self::Executed => "executed",
        }
    }
}

pub(crate) struct Metrics {
    calls: IntCounterVec,
    errors: IntCounterVec,
    seconds: HistogramVec,
    namespaces: [IntCounter; 2],
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self> {
        let labels = &["operation", "plugin", "mode"];
        let calls =
            IntCounterVec::new(Opts::new("corten_cni_operations_total", "Calls of CNI plugins."), labels)?;
        let errors = IntCounterVec::new(
            Opts::new("corten_cni_errors_total", "Calls of CNI plugins that failed."),
            labels,
        )?;
        let opts = HistogramOpts::new("corten_cni_operation_seconds", "Duration of calls of CNI plugins.");
        let buckets = vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
        let seconds = HistogramVec::new(opts.buckets(buckets), labels)?;
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        let namespaces = IntCounterVec::new(
            Opts::new(
                "corten_netns_total",
                "Network namespaces that pods were given: made ahead (warm), or when they were needed (cold).",
            ),
            &["start"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(namespaces.clone()))?;
        let namespaces = ["cold", "warm"].map(|start| namespaces.with_label_values(&[start]));
        Ok(Self { calls, errors, seconds, namespaces })
    }

    /// A pod has a namespace.
    pub(crate) fn made_namespace(&self, ahead: bool) {
        self.namespaces[usize::from(ahead)].inc();
    }

    pub(crate) fn observe(&self, command: Command, plugin: &str, mode: Mode, took: Duration, failed: bool) {
        let labels = &[command.as_str(), plugin, mode.as_str()];
        self.calls.with_label_values(labels).inc();
        // There with the first call, so that the first failure is a change.
        let errors = self.errors.with_label_values(labels);
        if failed {
            errors.inc();
        }
        self.seconds.with_label_values(labels).observe(took.as_secs_f64());
    }
}
