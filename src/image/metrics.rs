//! What Prometheus gets to see.

use crate::error::ImageError;
use model::ErrorKind;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The counters of pulls.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub pulls: IntCounterVec,
    pub bytes: IntCounter,
    pub seconds: Histogram,
    pub layers_pulled: IntCounter,
    pub layers_reused: IntCounter,
    pub pulling: IntGauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, ImageError> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let buckets = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];
        let metrics = Self {
            pulls: IntCounterVec::new(
                Opts::new("corten_image_pulls_total", "Image pulls by result."),
                &["result"],
            )?,
            bytes: counter("corten_image_pull_bytes_total", "Compressed bytes of layers received.")?,
            seconds: Histogram::with_opts(
                HistogramOpts::new("corten_image_pull_seconds", "Duration of successful image pulls.")
                    .buckets(buckets),
            )?,
            layers_pulled: counter("corten_image_layers_pulled_total", "Layers fetched and unpacked.")?,
            layers_reused: counter(
                "corten_image_layers_reused_total",
                "Layers that a pull needed and that were in the store.",
            )?,
            pulling: IntGauge::new("corten_image_pulls_in_progress", "Image pulls under way.")?,
        };
        registry.register(Box::new(metrics.pulls.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.layers_pulled.clone()))?;
        registry.register(Box::new(metrics.layers_reused.clone()))?;
        registry.register(Box::new(metrics.pulling.clone()))?;
        Ok(metrics)
    }

    /// Counts a finished pull.
    pub(crate) fn finished(&self, error: Option<&ImageError>, seconds: f64) {
        let result = match error.map(ImageError::kind) {
            None => {
                self.seconds.observe(seconds);
                "success"
            }
            Some(ErrorKind::NotFound) => "not_found",
            Some(ErrorKind::Unavailable) => "unavailable",
            Some(ErrorKind::PermissionDenied) => "denied",
            Some(ErrorKind::InvalidArgument) => "invalid",
            Some(_) => "error",
        };
        self.pulls.with_label_values(&[result]).inc();
    }
}
