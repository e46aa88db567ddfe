//! What a kubelet counts of its runtime.

use e2e::Error;
use e2e::cluster::Kubectl;
use std::collections::BTreeMap;

const START: &str = "kubelet_pod_start_sli_duration_seconds";
const OPERATIONS: &str = "kubelet_runtime_operations_duration_seconds_sum";

/// What it has counted until now, or in a while.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How long pods took to start, without pulls.
    pub(crate) start: Histogram,
    /// The seconds of all requests of a kind.
    pub(crate) operations: BTreeMap<String, f64>,
}

/// A histogram of Prometheus.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    sum: f64,
    count: f64,
    /// How many were at most so long.
    buckets: Vec<(f64, f64)>,
}

impl Counts {
    /// Asks the kubelet of the first node.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn read(kubectl: &Kubectl) -> Result<Self, Error> {
        let path = format!("/api/v1/nodes/{}/proxy/metrics", e2e::cluster::name(1));
        kubectl.run(&["get", "--raw", &path]).map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let name = series.split('{').next().unwrap_or_default();
            if name == OPERATIONS {
                counts.operations.insert(label(series, "operation_type"), value);
            }
            match name.strip_prefix(START) {
                Some("_sum") => counts.start.sum += value,
                Some("_count") => counts.start.count += value,
                Some("_bucket") => {
                    let bound = label(series, "le").parse().unwrap_or(f64::INFINITY);
                    counts.start.buckets.push((bound, value));
                }
                _ => {}
            }
        }
        counts
    }

    /// What was counted since an earlier reading.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (name, seconds) in &mut self.operations {
            *seconds -= before.operations.get(name).copied().unwrap_or_default();
        }
        self.start.sum -= before.start.sum;
        self.start.count -= before.start.count;
        for ((_, count), (_, earlier)) in self.start.buckets.iter_mut().zip(&before.start.buckets) {
            *count -= earlier;
        }
        self
    }
}

impl Histogram {
    /// The mean.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// A quantile as Prometheus has it: in a bucket, all values are equally likely.
    pub(crate) fn quantile(&self, which: f64) -> f64 {
        let rank = which * self.count;
        let mut below = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count >= rank && count > below.1 {
                let part = (rank - below.1) / (count - below.1);
                return if bound.is_finite() { below.0 + part * (bound - below.0) } else { below.0 };
            }
            below = (bound, count);
        }
        f64::NAN
    }
}

fn label(series: &str, name: &str) -> String {
    let value = series.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn what_was_counted_in_a_while_is_the_difference() {
        let text = |start: u32, run: u32| {
            format!(
                "# TYPE kubelet_pod_start_sli_duration_seconds histogram\n\
                 kubelet_pod_start_sli_duration_seconds_bucket{{le=\"1\"}} {start}\n\
                 kubelet_pod_start_sli_duration_seconds_bucket{{le=\"2\"}} {}\n\
                 kubelet_pod_start_sli_duration_seconds_bucket{{le=\"+Inf\"}} {}\n\
                 kubelet_pod_start_sli_duration_seconds_sum {}\n\
                 kubelet_pod_start_sli_duration_seconds_count {}\n\
                 kubelet_runtime_operations_duration_seconds_sum{{operation_type=\"run_podsandbox\"}} {run}.5\n",
                2 * start,
                2 * start,
                2 * start,
                2 * start
            )
        };
        let counts = Counts::parse(&text(30, 7)).since(&Counts::parse(&text(10, 3)));
        assert_eq!(counts.operations["run_podsandbox"], 4.0);
        assert_eq!(counts.start.mean(), 1.0);
        assert_eq!(counts.start.quantile(0.5), 1.0);
        assert_eq!(counts.start.quantile(0.75), 1.5);
    }
}
