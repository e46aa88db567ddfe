//! What became of changes of the configuration.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Metrics of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfigMetrics {
    reloads: IntCounterVec,
    refused: IntGauge,
    waiting: IntGauge,
}

impl ConfigMetrics {
    /// # Errors
    /// Two collectors of a name.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reloads = Opts::new(
            "corten_config_reloads_total",
            "How often the configuration was read again, by outcome",
        );
        let metrics = Self {
            reloads: IntCounterVec::new(reloads, &["outcome"])?,
            refused: IntGauge::new(
                "corten_config_refused",
                "1 while the configuration's files are refused and the former settings stay in force",
            )?,
            waiting: IntGauge::new(
                "corten_config_waiting_for_restart",
                "Settings whose new values take a restart of the daemon",
            )?,
        };
        for outcome in ["changed", "unchanged", "refused"] {
            metrics.reloads.with_label_values(&[outcome]).reset();
        }
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        Ok(metrics)
    }

    /// The files were refused.
    pub(crate) fn refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.refused.set(1);
    }

    /// They were taken: so many settings have changed, so many wait for a restart.
    pub(crate) fn accepted(&self, changed: usize, waiting: usize) {
        self.reloads.with_label_values(&[if changed == 0 { "unchanged" } else { "changed" }]).inc();
        self.refused.set(0);
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
