//! What Prometheus gets to see.

use crate::error::ImageError;
use model::ErrorKind;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use sys::sync::lock;

/// The counters of pulls and of the store.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub pulls: IntCounterVec,
    /// By kind of failure.
    failures: IntCounterVec,
    sweeps: IntCounterVec,
    /// By host: scheme, name and port.
    pub bytes: IntCounterVec,
    pub requests: IntCounterVec,
    pub retries: IntCounterVec,
    pub seconds: Histogram,
    pub layers_pulled: IntCounter,
    pub layers_reused: IntCounter,
    pub layer_seconds: Histogram,
    pub pulling: IntGauge,
    pub store_bytes: IntGaugeVec,
    pub store_inodes: IntGauge,
    pub images: IntGauge,
    /// The hosts that have series of their own.
    hosts: Arc<Mutex<HashSet<String>>>,
}

/// Hosts that users named and that have series of their own. Those of a `hosts.toml` have them beside.
const MOST_HOSTS: usize = 16;
/// What pulls come to.
const RESULTS: [&str; 7] = ["success", "not_found", "unavailable", "denied", "invalid", "exhausted", "error"];
/// The label of all others.
const OTHERS: &str = "other";

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, ImageError> {
        let metrics = Self::new()?;
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        metrics.begin();
        Ok(metrics)
    }

    fn new() -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let by = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let seconds = |name: &str, help: &str| {
            let buckets = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        };
        Ok(Self {
            pulls: by("corten_image_pulls_total", "Image pulls by result.", "result")?,
            failures: by(
                "corten_image_pull_failures_total",
                "Image pulls that failed, by the code of their answer.",
                "code",
            )?,
            sweeps: by(
                "corten_image_gc_runs_total",
                "How often what no image needs was looked for and removed, by outcome.",
                "outcome",
            )?,
            bytes: by("corten_image_pull_bytes_total", "Bytes of layers received, by host.", "host")?,
            requests: by("corten_image_registry_requests_total", "Requests to registries, by host.", "host")?,
            retries: by(
                "corten_image_registry_retries_total",
                "Requests repeated because a host was busy or a body broke off, by host.",
                "host",
            )?,
            seconds: seconds("corten_image_pull_seconds", "Duration of successful image pulls.")?,
            layers_pulled: counter("corten_image_layers_pulled_total", "Layers fetched and unpacked.")?,
            layers_reused: counter(
                "corten_image_layers_reused_total",
                "Layers that a pull needed and that were in the store.",
            )?,
            layer_seconds: seconds(
                "corten_image_layer_unpack_seconds",
                "Duration of fetching and unpacking one layer, which are one pass.",
            )?,
            pulling: IntGauge::new("corten_image_pulls_in_progress", "Image pulls under way.")?,
            store_bytes: IntGaugeVec::new(
                Opts::new("corten_image_store_bytes", "Bytes that images use, by what they are."),
                &["kind"],
            )?,
            store_inodes: IntGauge::new("corten_image_store_inodes", "Inodes that images use.")?,
            images: IntGauge::new("corten_images", "Images in the store.")?,
            hosts: Arc::default(),
        })
    }

    fn collectors(&self) -> [Box<dyn Collector>; 14] {
        [
            Box::new(self.pulls.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.sweeps.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.requests.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.layers_pulled.clone()),
            Box::new(self.layers_reused.clone()),
            Box::new(self.layer_seconds.clone()),
            Box::new(self.pulling.clone()),
            Box::new(self.store_bytes.clone()),
            Box::new(self.store_inodes.clone()),
            Box::new(self.images.clone()),
        ]
    }

    /// Series that are there from the start, so that the first of a kind is a change.
    fn begin(&self) {
        RESULTS.iter().for_each(|result| self.pulls.with_label_values(&[result]).reset());
        for kind in [ErrorKind::NotFound, ErrorKind::Unavailable, ErrorKind::PermissionDenied] {
            self.failures.with_label_values(&[&format!("{kind:?}")]).reset();
        }
        [true, false]
            .into_iter()
            .for_each(|went_well| self.sweeps.with_label_values(&[outcome(went_well)]).reset());
    }

    /// Counts a look for what nothing needs.
    pub(crate) fn swept(&self, went_well: bool) {
        self.sweeps.with_label_values(&[outcome(went_well)]).inc();
    }

    /// Gives a host series of its own that an administrator has named.
    pub(crate) fn admit(&self, host: &str) {
        self.hosts().insert(host.to_owned());
    }

    /// As [`Self::admit`], for a host that a user has named and that is there, while there are few of them: whoever may
    /// pull could make series without end.
    pub(crate) fn answered(&self, host: &str) {
        let mut hosts = self.hosts();
        if hosts.len() < MOST_HOSTS {
            hosts.insert(host.to_owned());
        }
    }

    /// The label of a host: scheme, name and port, or one for all that have no series of their own.
    pub(crate) fn label(&self, host: &str) -> String {
        if self.hosts().contains(host) { host.to_owned() } else { OTHERS.to_owned() }
    }

    fn hosts(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.hosts)
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
            Some(ErrorKind::ResourceExhausted) => "exhausted",
            Some(_) => "error",
        };
        self.pulls.with_label_values(&[result]).inc();
        if let Some(error) = error {
            // Its name is that of the gRPC code.
            self.failures.with_label_values(&[&format!("{:?}", error.kind())]).inc();
        }
    }

    /// Tells the sizes of the store.
    pub(crate) fn store(&self, images: usize, layers: u64, blobs: u64, inodes: u64) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.images.set(number(images as u64));
        self.store_bytes.with_label_values(&["layers"]).set(number(layers));
        self.store_bytes.with_label_values(&["blobs"]).set(number(blobs));
        self.store_inodes.set(number(inodes));
    }
}

fn outcome(went_well: bool) -> &'static str {
    if went_well { "success" } else { "failure" }
}
