//! Traces, by a collector of the scenario's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::collector::{Collector, Kept};
use e2e::pods::shell;
use e2e::proto::RunPodSandboxRequest;
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World};
use std::time::Duration;
use tonic::Request;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "1bf7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What the collector has of a trace.
fn of(collector: &Collector, trace: &str) -> Vec<Kept> {
    let all = collector.spans().into_iter();
    all.filter(|(_, span)| hex(&span.trace_id) == trace).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_traced(protocol: &str, port: u16) {
    if Kind::from_environment() != Kind::Corten {
        return need::skip(need::Need::Corten, "about Corten's settings");
    }
    let extra = format!(
        "[tracing]\nendpoint = \"http://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\nsamples_per_million = 0\n"
    );
    let Some(world) = World::with(|options| Options { extra, ..options }).unwrap() else { return };
    let collector = Collector::start(([127, 0, 0, 1], port).into()).unwrap();
    let pod = |trace: &str, flags: &str, name: &str| {
        let config = Some(world.pod(name).unwrap());
        let mut request = Request::new(RunPodSandboxRequest { config, runtime_handler: String::new() });
        let parent = format!("00-{trace}-{CALLER}-{flags}");
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        request
    };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut runtime = cri.runtime.clone();
        let first = runtime.run_pod_sandbox(pod(TRACE, "01", "first")).await.unwrap().into_inner();
        let second = runtime.run_pod_sandbox(pod(OTHER, "00", "second")).await.unwrap().into_inner();
        let is_whole = || of(&collector, TRACE).iter().any(|(_, span)| span.name.ends_with("RunPodSandbox"));
        e2e::wait::until("the call's span", Duration::from_secs(60), is_whole).unwrap();
        let spans = of(&collector, TRACE);
        let named = |name: &str| {
            let found = spans.iter().find(|(_, span)| span.name == name);
            found.unwrap_or_else(|| panic!("no {name} in {spans:?}")).1.clone()
        };
        let call = named("runtime.v1.RuntimeService/RunPodSandbox");
        assert_eq!(hex(&call.parent_span_id), CALLER);
        assert!(spans.iter().all(|(service, _)| service == "corten"));
        // The supervisor's phases: it is spawned, and it has made the pod's namespaces.
        for (name, around) in [
            ("network", "runtime.v1.RuntimeService/RunPodSandbox"),
            ("cni_add", "network"),
            ("spawn", "supervisor"),
            ("namespaces", "supervisor"),
        ] {
            let (stage, around) = (named(name), named(around));
            assert_eq!(stage.parent_span_id, around.span_id, "{name}");
            assert!(stage.start_time_unix_nano >= around.start_time_unix_nano, "{name}");
            assert!(stage.end_time_unix_nano <= around.end_time_unix_nano, "{name}");
        }
        assert_eq!(of(&collector, OTHER), [], "its caller keeps none");
        // A collector that is gone costs spans only.
        drop(collector);
        let third = runtime.run_pod_sandbox(pod(TRACE, "01", "third")).await.unwrap().into_inner();
        let config = world.pod("third").unwrap();
        let id = cri
            .create(&third.pod_sandbox_id, &shell("main", BUSYBOX, "exec sleep 100"), &config)
            .await
            .unwrap();
        cri.start(&id).await.unwrap();
        for pod in [first, second, third] {
            cri.end_pod(&pod.pod_sandbox_id).await.unwrap();
        }
    });
}

#[test]
fn a_request_and_its_stages_are_spans_of_its_callers_trace_by_grpc() {
    is_traced("grpc", 4317);
}

#[test]
fn a_request_and_its_stages_are_spans_of_its_callers_trace_by_http() {
    is_traced("http/protobuf", 4318);
}
