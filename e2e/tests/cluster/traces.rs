//! The kubelet's own traces, and what Corten adds to them.

use crate::stage::{PATIENCE, Stage, container, pod};
use e2e::cluster::{Cluster, Options};
use e2e::collector::Collector;
use e2e::runtime::Kind;
use serde_json::json;
use std::collections::BTreeSet;

const PORT: u16 = 4317;

#[test]
fn a_pods_start_is_one_trace_of_kubelet_and_runtime() {
    if Kind::from_environment() != Kind::Corten {
        return need::skip(need::Need::Corten, "about Corten's settings");
    }
    let options = Options {
        kubelet: json!({"tracing": {"endpoint": format!("127.0.0.1:{PORT}"), "samplingRatePerMillion": 1_000_000}}),
        // Nothing but what the kubelet traces.
        runtime: format!("[tracing]\nendpoint = \"http://127.0.0.1:{PORT}\"\nsamples_per_million = 0\n"),
        dns: false,
        ..Options::new("traces")
    };
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    let collector = Collector::start(([127, 0, 0, 1], PORT).into()).unwrap();
    let stage = Stage::enter(&cluster, "traces");
    let spec = json!({"restartPolicy": "Never", "containers": [container("main", "echo traced")]});
    assert_eq!(stage.output(pod("traced", spec)), "traced\n");
    let joined = || {
        let spans = collector.spans();
        let of_kubelet: BTreeSet<_> = spans
            .iter()
            .filter(|(service, _)| service == "kubelet")
            .map(|(_, span)| (span.trace_id.clone(), span.span_id.clone()))
            .collect();
        let has = |method: &str| {
            let name = format!("runtime.v1.RuntimeService/{method}");
            spans.iter().any(|(service, span)| {
                let parent = (span.trace_id.clone(), span.parent_span_id.clone());
                service == "corten" && span.name == name && of_kubelet.contains(&parent)
            })
        };
        ["RunPodSandbox", "CreateContainer", "StartContainer"].into_iter().all(has)
    };
    e2e::wait::until("one trace of both", PATIENCE, joined).unwrap();
    stage.leave();
}
