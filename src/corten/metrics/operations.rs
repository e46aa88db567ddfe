//! What is under way, and what of it is stuck: asked of the engine when scraped. Work stays here until it ends, also when its
//! client has left.

use engine::{Engine, OperationView};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntGaugeVec, Opts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The verbs that have series from the start.
const VERBS: [&str; 15] = [
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "UpdatePodSandboxResources",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "UpdateContainerResources",
    "PullImage",
    "RemoveImage",
    "ExecSync",
    "Exec",
    "Attach",
    "PortForward",
];
/// The kubelet's patience with RunPodSandbox, the longest that it has with what does not say by itself how long it takes.
const LONG: Duration = Duration::from_secs(240);
/// Nobody waits longer for a large image, or for a container to end by itself.
const VERY_LONG: Duration = Duration::from_secs(3600);
/// A verb that tells no stage.
const NO_STAGE: &str = "work";

/// Exports the operations.
pub(crate) struct OperationCollector {
    engine: Arc<Engine>,
    gauges: Gauges,
}

struct Gauges {
    in_flight: IntGaugeVec,
    in_stage: IntGaugeVec,
    oldest: GaugeVec,
    stuck: IntGaugeVec,
}

impl OperationCollector {
    /// # Errors
    /// A name that Prometheus does not allow.
    pub(crate) fn new(engine: Arc<Engine>) -> Result<Self, prometheus::Error> {
        Ok(Self { engine, gauges: Gauges::new()? })
    }
}

impl Collector for OperationCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauges.show(&self.engine.operations());
        self.gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let counts =
            |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        Ok(Self {
            in_flight: counts(
                "corten_operations_in_flight",
                "Operations under way, also for clients that have left.",
                &["method"],
            )?,
            in_stage: counts(
                "corten_operations_in_stage",
                "Operations under way by the stage that they are in; some are in several.",
                &["method", "stage"],
            )?,
            oldest: GaugeVec::new(
                Opts::new(
                    "corten_operations_oldest_age_seconds",
                    "For how long the operation that is in a stage for longest has been in it.",
                ),
                &["method", "stage"],
            )?,
            stuck: counts(
                "corten_operations_stuck",
                "Operations that take longer than anybody waits for them: 4 minutes, of pulls and stops an hour.",
                &["method"],
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 4] {
        [&self.in_flight, &self.in_stage, &self.oldest, &self.stuck]
    }

    fn show(&self, operations: &[OperationView]) {
        for verb in VERBS {
            self.in_flight.with_label_values(&[verb]).set(0);
            self.stuck.with_label_values(&[verb]).set(0);
        }
        self.in_stage.reset();
        self.oldest.reset();
        let mut ages: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
        for operation in operations {
            self.in_flight.with_label_values(&[operation.verb]).inc();
            if patience(operation.verb).is_some_and(|patience| operation.age > patience) {
                self.stuck.with_label_values(&[operation.verb]).inc();
            }
            let whole = [(NO_STAGE, operation.age)];
            let stages = if operation.stages.is_empty() { whole.as_slice() } else { &operation.stages };
            for (stage, age) in stages {
                self.in_stage.with_label_values(&[operation.verb, stage]).inc();
                let oldest = ages.entry((operation.verb, stage)).or_default();
                *oldest = (*oldest).max(*age);
            }
        }
        for ((verb, stage), age) in ages {
            let gauge: Gauge = self.oldest.with_label_values(&[verb, stage]);
            gauge.set(age.as_secs_f64());
        }
    }
}

/// After how long a verb counts as stuck; `None` for those that may take for ever.
fn patience(verb: &str) -> Option<Duration> {
    match verb {
        "ExecSync" | "Exec" | "Attach" | "PortForward" => None,
        "PullImage" | "StopContainer" | "StopPodSandbox" => Some(VERY_LONG),
        _ => Some(LONG),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn operation(verb: &'static str, age: u64, stages: &[(&'static str, u64)]) -> OperationView {
        let stages = stages.iter().map(|(stage, age)| (*stage, Duration::from_secs(*age))).collect();
        OperationView { verb, subject: "x".into(), age: Duration::from_secs(age), stages }
    }

    #[test]
    fn operations_are_counted_by_stage_and_those_that_hang_are_told() {
        let gauges = Gauges::new().unwrap();
        gauges.show(&[
            operation("RunPodSandbox", 300, &[("network", 299), ("cni_add", 298)]),
            operation("RunPodSandbox", 2, &[("network", 1)]),
            operation("ExecSync", 100_000, &[("command", 100_000)]),
            operation("PullImage", 300, &[]),
        ]);
        let in_flight = |verb: &str| gauges.in_flight.with_label_values(&[verb]).get();
        let stuck = |verb: &str| gauges.stuck.with_label_values(&[verb]).get();
        assert_eq!(
            [in_flight("RunPodSandbox"), in_flight("ExecSync"), in_flight("StopContainer")],
            [2, 1, 0]
        );
        assert_eq!([stuck("RunPodSandbox"), stuck("ExecSync"), stuck("PullImage")], [1, 0, 0]);
        assert_eq!(gauges.in_stage.with_label_values(&["RunPodSandbox", "network"]).get(), 2);
        let oldest = gauges.oldest.with_label_values(&["RunPodSandbox", "network"]).get();
        assert!((oldest - 299.0).abs() < 0.01, "{oldest}");
        let pull = gauges.oldest.with_label_values(&["PullImage", NO_STAGE]).get();
        assert!((pull - 300.0).abs() < 0.01, "{pull}");

        gauges.show(&[]);
        assert_eq!((in_flight("RunPodSandbox"), stuck("RunPodSandbox")), (0, 0));
        assert_eq!(gauges.in_flight.collect()[0].get_metric().len(), VERBS.len(), "for rate() and absent()");
        assert!(gauges.oldest.collect().iter().all(|family| family.get_metric().is_empty()));
    }
}
