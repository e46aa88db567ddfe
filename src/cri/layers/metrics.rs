//! Counters of RPCs by method and code.

use super::methods::{Class, LACKING, METHODS};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};
use std::collections::HashMap;
use std::time::Duration;
use tonic::Code;

/// From a cached status to the kubelet's patience with RunPodSandbox, which is four minutes.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0, 60.0, 120.0, 240.0,
];
/// What is counted of requests that are no method, or one that this version lacks.
const UNKNOWN: &str = "unknown";

/// What is counted of RPCs.
#[derive(Debug)]
pub(crate) struct Metrics {
    handled: IntCounterVec,
    in_flight: IntGauge,
    methods: HashMap<&'static str, Method>,
    unknown: Method,
}

/// What is known of a method.
#[derive(Debug)]
pub(crate) struct Method {
    /// The name without the service.
    pub(crate) name: &'static str,
    /// How often it is called.
    pub(crate) class: Class,
    /// What its series are called.
    label: &'static str,
    seconds: Histogram,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let handled = IntCounterVec::new(
            Opts::new("corten_cri_requests_total", "RPCs answered, by method and gRPC code."),
            &["method", "code"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("corten_cri_request_duration_seconds", "How long RPCs took, by method.")
                .buckets(SECONDS.to_vec()),
            &["method"],
        )?;
        let in_flight = IntGauge::new("corten_cri_requests_in_flight", "RPCs that are being answered.")?;
        registry.register(Box::new(handled.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        let method =
            |name, class, label| Method { name, class, label, seconds: seconds.with_label_values(&[label]) };
        let known = METHODS.iter().map(|(path, class)| {
            let name = path.rsplit_once('/').map_or(*path, |(_, name)| name);
            let is_lacking = LACKING.contains(path);
            if !is_lacking {
                // The first success is a change, too.
                handled.with_label_values(&[name, self::name(Code::Ok)]).reset();
            }
            (*path, method(name, *class, if is_lacking { UNKNOWN } else { name }))
        });
        let methods = known.collect();
        Ok(Self { methods, unknown: method(UNKNOWN, Class::Polling, UNKNOWN), handled, in_flight })
    }

    /// The method of a request's path. Paths that clients make up share one, so that they cannot fill memory.
    pub(crate) fn method(&self, path: &str) -> &Method {
        self.methods.get(path).unwrap_or(&self.unknown)
    }

    /// An RPC begins.
    pub(crate) fn begin(&self) {
        self.in_flight.inc();
    }

    /// An RPC ended.
    pub(crate) fn end(&self, method: &Method, code: Code, took: Duration) {
        self.in_flight.dec();
        self.handled.with_label_values(&[method.label, name(code)]).inc();
        method.seconds.observe(took.as_secs_f64());
    }
}

/// A code as gRPC spells it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
