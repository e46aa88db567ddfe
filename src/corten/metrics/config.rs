//! What became of changes of the configuration.

use crate::config::Config;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::time::{SystemTime, UNIX_EPOCH};

/// Metrics of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfigMetrics {
    reloads: IntCounterVec,
    refused: IntGauge,
    waiting: IntGauge,
    successful: IntGauge,
    successful_at: IntGauge,
    in_force: IntGaugeVec,
}

/// Settings that tell nodes from each other.
const IN_FORCE: [&str; 5] =
    ["builtin_network", "cgroup_driver", "default_handler", "seccomp_default", "selinux"];

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
            successful: IntGauge::new(
                "corten_config_last_reload_successful",
                "1 unless the files were refused when they were read last",
            )?,
            successful_at: IntGauge::new(
                "corten_config_last_reload_success_timestamp_seconds",
                "When the files were taken last, in Unix time",
            )?,
            in_force: IntGaugeVec::new(
                Opts::new("corten_config_info", "Settings in force that nodes differ in; always 1"),
                &IN_FORCE,
            )?,
        };
        metrics.taken();
        for outcome in ["changed", "unchanged", "refused"] {
            metrics.reloads.with_label_values(&[outcome]).reset();
        }
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.successful.clone()))?;
        registry.register(Box::new(metrics.successful_at.clone()))?;
        registry.register(Box::new(metrics.in_force.clone()))?;
        Ok(metrics)
    }

    fn taken(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.successful.set(1);
        self.successful_at.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// These settings are in force from now on.
    pub(crate) fn in_force(&self, config: &Config) {
        let runtime = &config.runtime;
        let values = [
            config.network.builtin_network.to_string(),
            format!("{:?}", runtime.cgroup_driver).to_lowercase(),
            runtime.default_handler.clone(),
            runtime.seccomp_default.to_string(),
            runtime.selinux.to_string(),
        ];
        self.in_force.reset();
        self.in_force.with_label_values(&values).set(1);
    }

    /// The files were refused.
    pub(crate) fn refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.refused.set(1);
        self.successful.set(0);
    }

    /// They were taken: so many settings have changed, so many wait for a restart.
    pub(crate) fn accepted(&self, changed: usize, waiting: usize) {
        self.reloads.with_label_values(&[if changed == 0 { "unchanged" } else { "changed" }]).inc();
        self.refused.set(0);
        self.taken();
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
