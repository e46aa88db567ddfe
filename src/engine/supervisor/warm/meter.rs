//! What is counted of supervisors that are started ahead.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// How many pods had one, and how many wait.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    warm: IntCounter,
    cold: IntCounter,
    waiting: IntGauge,
}

impl Meter {
    /// # Errors
    /// A name that Prometheus does not allow, or that is there.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let starts = IntCounterVec::new(
            Opts::new(
                "corten_shim_starts_total",
                "Supervisors that pods were given: started ahead (warm), or when they were needed (cold).",
            ),
            &["start"],
        )?;
        let waiting =
            IntGauge::new("corten_shims_waiting", "Supervisors that were started ahead and wait for a pod.")?;
        registry.register(Box::new(starts.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        let of = |start| starts.with_label_values(&[start]);
        Ok(Self { warm: of("warm"), cold: of("cold"), waiting })
    }

    pub(super) fn started_warm(&self) {
        self.warm.inc();
    }

    pub(super) fn started_cold(&self) {
        self.cold.inc();
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
