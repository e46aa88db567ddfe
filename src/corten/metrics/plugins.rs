//! Plugins of the Node Resource Interface: who is connected, what they are asked, and how that goes. Asked of the engine when
//! scraped.

use engine::{Engine, NRI_LATENCY, NriListenStatus, NriPluginStatus};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::sync::Arc;

/// What a family is called, says and is told apart by.
#[derive(Clone, Copy)]
struct Family {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

impl Family {
    const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels }
    }
}

const LISTENING: Family = Family::new(
    "corten_nri_listening",
    "1 while NRI plugins can connect, 0 while the socket is another's or cannot be opened.",
    &[],
);
const MISSING: Family = Family::new(
    "corten_nri_required_plugins_missing",
    "Plugins without which no container is created and that are not connected.",
    &[],
);
const CONNECTED: Family = Family::new(
    "corten_nri_plugin_connected",
    "1 while a plugin is connected and knows of every pod, 0 while one that was there in the last day, or is installed, is not.",
    &["plugin"],
);
const RESTARTS: Family = Family::new(
    "corten_nri_plugin_restarts_total",
    "How often a plugin was started again, or came back.",
    &["plugin"],
);
const REQUESTS: Family = Family::new(
    "corten_nri_request_duration_seconds",
    "Time for which a plugin was waited for, by what it was asked.",
    &["plugin", "request"],
);
const ADJUSTMENTS: Family = Family::new(
    "corten_nri_adjustments_total",
    "Requests in which a plugin changed something.",
    &["plugin", "request"],
);
const FAILURES: Family = Family::new(
    "corten_nri_request_failures_total",
    "Requests that a plugin answered with an error (refused), with what cannot be done (rejected), or not at all (unanswered).",
    &["plugin", "request", "reason"],
);
const FAMILIES: [Family; 7] = [LISTENING, MISSING, CONNECTED, RESTARTS, REQUESTS, ADJUSTMENTS, FAILURES];

/// Exports the plugins.
pub(crate) struct PluginCollector {
    engine: Arc<Engine>,
    described: Vec<Desc>,
}

impl PluginCollector {
    /// # Errors
    /// A name that Prometheus does not allow.
    pub(crate) fn new(engine: Arc<Engine>) -> Result<Self, prometheus::Error> {
        let describe = |Family { name, help, labels }: Family| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
        };
        let described = FAMILIES.into_iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { engine, described })
    }
}

impl Collector for PluginCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = of_node(self.engine.plugin_socket().as_ref(), self.engine.missing_plugins());
        families.extend(of_plugins(&self.engine.plugins()));
        families
    }
}

/// Where plugins may not connect, or none is required, there is no series.
#[allow(clippy::cast_precision_loss, reason = "Prometheus counts in floats")]
fn of_node(socket: Option<&NriListenStatus>, missing: Option<Vec<String>>) -> Vec<MetricFamily> {
    let one =
        |about: Family, value: f64| family(about, MetricType::GAUGE, vec![gauge(labels(about, &[]), value)]);
    let listening = socket.map(|socket| one(LISTENING, if socket.problem.is_none() { 1.0 } else { 0.0 }));
    let missing = missing.map(|missing| one(MISSING, missing.len() as f64));
    listening.into_iter().chain(missing).collect()
}

fn of_plugins(plugins: &[NriPluginStatus]) -> Vec<MetricFamily> {
    let of = |value: &dyn Fn(&NriPluginStatus) -> Metric| plugins.iter().map(value).collect::<Vec<_>>();
    let connected =
        of(&|plugin| gauge(labels(CONNECTED, &[&plugin.name]), if plugin.connected { 1.0 } else { 0.0 }));
    let restarts = of(&|plugin| counter(labels(RESTARTS, &[&plugin.name]), plugin.restarts));
    let (mut requests, mut adjustments, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for plugin in plugins {
        for calls in &plugin.calls {
            let of = [plugin.name.as_str(), calls.request];
            requests.push(histogram(labels(REQUESTS, &of), &calls.buckets, calls.waited.as_secs_f64()));
            adjustments.push(counter(labels(ADJUSTMENTS, &of), calls.adjusted));
            for (reason, count) in
                [("refused", calls.refused), ("rejected", calls.rejected), ("unanswered", calls.unanswered)]
            {
                failures.push(counter(labels(FAILURES, &[of[0], of[1], reason]), count));
            }
        }
    }
    let all = [
        (CONNECTED, MetricType::GAUGE, connected),
        (RESTARTS, MetricType::COUNTER, restarts),
        (REQUESTS, MetricType::HISTOGRAM, requests),
        (ADJUSTMENTS, MetricType::COUNTER, adjustments),
        (FAILURES, MetricType::COUNTER, failures),
    ];
    // A family without a series is none.
    let all = all.into_iter().filter(|(.., metrics)| !metrics.is_empty());
    all.map(|(about, kind, metrics)| family(about, kind, metrics)).collect()
}

fn family(about: Family, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(about.name.to_owned());
    family.set_help(about.help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labels(about: Family, values: &[&str]) -> Metric {
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(about.labels.iter().zip(values).map(pair).collect());
    metric
}

fn gauge(mut metric: Metric, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus counts in floats")]
fn counter(mut metric: Metric, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

/// The last count is of what took longer than every bound.
fn histogram(mut metric: Metric, counts: &[u64], sum: f64) -> Metric {
    let mut so_far = 0;
    let bucket = |(count, bound): (&u64, &std::time::Duration)| {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_cumulative_count(so_far);
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket
    };
    let buckets: Vec<Bucket> = counts.iter().zip(&NRI_LATENCY).map(bucket).collect();
    let mut histogram = Histogram::default();
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum);
    histogram.set_bucket(buckets);
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use engine::{NriCalls, NriOrigin};
    use prometheus::Encoder;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_plugin_is_told_with_what_it_was_asked() {
        let mut calls = NriCalls { request: "CreateContainer", total: 4, ..NriCalls::default() };
        calls.buckets[0] = 2;
        calls.buckets[1] = 1;
        calls.buckets[NRI_LATENCY.len()] = 1;
        (calls.refused, calls.unanswered, calls.adjusted, calls.rejected) = (1, 2, 3, 5);
        calls.waited = Duration::from_millis(1500);
        let plugin = NriPluginStatus {
            name: "10-device".to_owned(),
            origin: NriOrigin::External,
            pid: None,
            connected: true,
            since: SystemTime::UNIX_EPOCH,
            absence: None,
            events: 0,
            pending: None,
            restarts: 7,
            last_end: None,
            calls: vec![calls],
        };
        let mut text = Vec::new();
        prometheus::TextEncoder::new().encode(&of_plugins(&[plugin]), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let of = r#"plugin="10-device",request="CreateContainer""#;
        for line in [
            r#"corten_nri_plugin_connected{plugin="10-device"} 1"#.to_owned(),
            r#"corten_nri_plugin_restarts_total{plugin="10-device"} 7"#.to_owned(),
            format!("corten_nri_request_duration_seconds_bucket{{{of},le=\"0.00025\"}} 2"),
            format!("corten_nri_request_duration_seconds_bucket{{{of},le=\"0.001\"}} 3"),
            format!("corten_nri_request_duration_seconds_bucket{{{of},le=\"10\"}} 3"),
            format!("corten_nri_request_duration_seconds_bucket{{{of},le=\"+Inf\"}} 4"),
            format!("corten_nri_request_duration_seconds_sum{{{of}}} 1.5"),
            format!("corten_nri_request_duration_seconds_count{{{of}}} 4"),
            format!("corten_nri_adjustments_total{{{of}}} 3"),
            format!("corten_nri_request_failures_total{{{of},reason=\"refused\"}} 1"),
            format!("corten_nri_request_failures_total{{{of},reason=\"unanswered\"}} 2"),
            format!("corten_nri_request_failures_total{{{of},reason=\"rejected\"}} 5"),
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
        assert!(of_plugins(&[]).is_empty(), "without plugins there are no series");
    }

    #[test]
    fn a_socket_that_nobody_can_connect_to_is_told() {
        let text = |problem: Option<&str>, missing: Option<&[&str]>| {
            let problem = problem.map(str::to_owned);
            let socket = NriListenStatus { socket: "/run/nri/nri.sock".into(), problem };
            let missing = missing.map(|missing| missing.iter().map(|name| (*name).to_owned()).collect());
            let mut text = Vec::new();
            prometheus::TextEncoder::new().encode(&of_node(Some(&socket), missing), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let values = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(values(&text(None, None)), ["corten_nri_listening 1"]);
        let of_both = ["corten_nri_listening 0", "corten_nri_required_plugins_missing 1"];
        assert_eq!(values(&text(Some("it is another's"), Some(&["policy"]))), of_both);
        assert!(of_node(None, None).is_empty());
    }
}
