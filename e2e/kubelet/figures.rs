//! What the kubelet shows of pods by its default gates: the series of `/metrics/cadvisor` and the members of
//! `/stats/summary`, in a form that two runs can be compared in; and whether they are what the kernel counts.

use crate::node::NAME;
use e2e::Error;
use e2e::error::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The pods that are looked at.
const PODS: [&str; 2] = ["probes", "figures"];
/// How far a figure may be from the kernel's: the kubelet's is some seconds old.
const NEAR: f64 = 0.05;

/// What was shown, without what differs from run to run.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Names of metrics with their labels.
    series: BTreeSet<String>,
    /// Paths of members.
    summary: BTreeSet<String>,
}

/// One sample.
#[derive(Debug)]
pub(crate) struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Shape {
    /// What both endpoints say.
    pub(crate) fn of(samples: &[Sample], summary: &Value) -> Self {
        let pods = PODS.map(|pod| format!("{pod}-{NAME}"));
        let is_ours = |sample: &&Sample| pods.iter().any(|pod| sample.label("pod") == pod);
        let series = samples.iter().filter(is_ours).map(Sample::shape).collect();
        let mut members = BTreeSet::new();
        for pod in summary["pods"].as_array().into_iter().flatten() {
            let name = pod["podRef"]["name"].as_str().unwrap_or_default();
            if pods.iter().any(|pod| pod == name) {
                collect(name, pod, &mut members);
            }
        }
        Self { series, summary: members }
    }

    /// Every container and every pod has its figures.
    pub(crate) fn is_complete(&self) -> bool {
        let has = |needles: &[&str]| {
            self.series.iter().any(|series| needles.iter().all(|needle| series.contains(needle)))
        };
        let containers = [("probes", "exec"), ("probes", "http"), ("probes", "tcp"), ("figures", "main")];
        let cpu = "container_cpu_usage_seconds_total{";
        containers.iter().all(|(pod, container)| {
            has(&[cpu, &format!("container={container:?}"), &format!("pod=\"{pod}-{NAME}\"")])
        }) && PODS
            .iter()
            .all(|pod| has(&["container_network_receive_bytes_total{", &format!("pod=\"{pod}-{NAME}\"")]))
    }

    /// Keeps it for the comparison.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other).at("encode", path)?;
        fs::write(path, text).at("write", path)
    }

    /// Reads what was kept.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).at("read", path)?;
        serde_json::from_slice(&text).map_err(std::io::Error::other).at("decode", path)
    }

    /// What another one has that this one lacks.
    pub(crate) fn lacks(&self, other: &Self) -> Vec<String> {
        let series = other.series.difference(&self.series);
        series.chain(other.summary.difference(&self.summary)).cloned().collect()
    }

    /// How much it is.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.series.len(), self.summary.len())
    }
}

impl Sample {
    /// `name{label="value",…} value [time]`.
    fn parse(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let value = value.split(' ').next()?.parse().ok()?;
        let pairs = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
        let labels =
            pairs.map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned())).collect();
        Some(Self { name: head.to_owned(), labels, value })
    }

    fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    fn shape(&self) -> String {
        let is_pod = self.label("container").is_empty() && !self.label("name").is_empty();
        let labels = self.labels.iter().map(|(key, value)| {
            let value = match key.as_str() {
                "id" => last(value).to_owned(),
                "name" => id_or(value).to_owned(),
                // The peer's is that of its pause.
                "image" if is_pod && !value.is_empty() => "<the pod's>".to_owned(),
                "device" => "<some>".to_owned(),
                _ => value.clone(),
            };
            format!("{key}={value:?}")
        });
        format!("{}{{{}}}", self.name, labels.collect::<Vec<_>>().join(","))
    }
}

/// The end of a cgroup's name.
fn last(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.starts_with("pod") { "<pod>" } else { id_or(name) }
}

fn id_or(text: &str) -> &str {
    let is_id = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { "<id>" } else { text }
}

/// The samples of a text.
pub(crate) fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect()
}

fn collect(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                collect(&format!("{path}.{key}"), member, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                let name = item["name"].as_str().unwrap_or_default();
                // The kubelet's own volume has a name of its own each time.
                let name = if name.starts_with("kube-api-access") { "<token>" } else { name };
                collect(&format!("{path}[{name}]"), item, found);
            }
        }
        Value::Null => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Holds the figures of the pod `figures` against the kernel's; what was compared.
///
/// # Errors
/// When they are apart.
pub(crate) fn hold_against_kernel(samples: &[Sample]) -> Result<String, Error> {
    let pod = format!("figures-{NAME}");
    let find = |name: &str, container: &str| {
        samples.iter().find(|sample| {
            sample.name == name && sample.label("pod") == pod && sample.label("container") == container
        })
    };
    let missing = || Error::Unexpected { what: "figures of a pod", seen: "they are not there".to_owned() };
    let cpu = find("container_cpu_usage_seconds_total", "main").ok_or_else(missing)?;
    let memory = find("container_memory_usage_bytes", "main").ok_or_else(missing)?;
    let cgroup = cpu.label("id");
    let nanoseconds = counted(cgroup, "cpuacct", "cpuacct.usage").map(|count| count / 1e9);
    let of_cpu = nanoseconds.or_else(|| Some(counted(cgroup, "", "cpu.stat")? / 1e6));
    near("CPU seconds", cpu.value, of_cpu)?;
    let of_memory =
        counted(cgroup, "memory", "memory.usage_in_bytes").or_else(|| counted(cgroup, "", "memory.current"));
    near("bytes of memory", memory.value, of_memory)?;
    let received = samples.iter().find(|sample| {
        sample.name == "container_network_receive_bytes_total"
            && sample.label("pod") == pod
            && sample.label("interface") == "eth0"
    });
    let received = received.ok_or_else(missing)?.value;
    near("bytes received", received, traffic(cgroup))?;
    Ok(format!("{:.2} s of CPU, {} bytes of memory, {received} bytes received", cpu.value, memory.value))
}

fn near(what: &'static str, shown: f64, kernel: Option<f64>) -> Result<(), Error> {
    let kernel = kernel.unwrap_or(f64::NAN);
    if kernel > 0.0 && (shown - kernel).abs() <= NEAR * kernel {
        return Ok(());
    }
    Err(Error::Unexpected { what, seen: format!("{shown} in /metrics/cadvisor, {kernel} in the kernel") })
}

/// A count in a cgroup's file, where that hierarchy has it.
fn counted(cgroup: &str, hierarchy: &str, file: &str) -> Option<f64> {
    let text = fs::read_to_string(directory(hierarchy, cgroup).join(file)).ok()?;
    text.lines().next()?.split(' ').next_back()?.parse().ok()
}

fn directory(hierarchy: &str, cgroup: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(hierarchy).join(cgroup.trim_start_matches('/'))
}

/// Bytes that the network namespace of a cgroup's process has received on its first interface.
fn traffic(cgroup: &str) -> Option<f64> {
    let processes = ["memory", ""]
        .iter()
        .find_map(|hierarchy| fs::read_to_string(directory(hierarchy, cgroup).join("cgroup.procs")).ok())?;
    let text = fs::read_to_string(format!("/proc/{}/net/dev", processes.lines().next()?)).ok()?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_known_by_what_does_not_change_from_run_to_run() {
        let id = "0a".repeat(32);
        let line = format!(
            "container_memory_usage_bytes{{container=\"exec\",id=\"/k/pod1/{id}\",image=\"a/b:1\",name=\"{id}\",\
             namespace=\"default\",pod=\"probes-node\"}} 4.096e+03 1700000000000"
        );
        let [sample] = parse(&format!("# TYPE x gauge\n{line}\n")).try_into().unwrap();
        assert!((sample.value - 4096.0).abs() < 0.5);
        assert_eq!(
            sample.shape(),
            "container_memory_usage_bytes{container=\"exec\",id=\"<id>\",image=\"a/b:1\",name=\"<id>\",\
             namespace=\"default\",pod=\"probes-node\"}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let summary = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let pod = |more: &str| format!(r#"{{"pods":[{{"podRef":{{"name":"probes-node"}}{more}}}]}}"#);
        let ours = Shape::of(&[], &summary(&pod("")));
        let theirs = Shape::of(&[], &summary(&pod(r#","network":{"rxBytes":1}"#)));
        assert_eq!(ours.lacks(&theirs), ["probes-node.network.rxBytes"]);
        assert!(theirs.lacks(&ours).is_empty());
        assert!(!ours.is_complete());
    }
}
