#![allow(clippy::unwrap_used)]
use super::*;
use crate::export::queue;
use tracing_subscriber::layer::SubscriberExt;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What is sent when something happens under a layer that keeps so many of a million.
fn traced(per_million: u32, work: impl FnOnce()) -> Vec<Span> {
    let (queue, mut out) = queue().unwrap();
    let spans = Spans::new(queue, per_million).with_filter(Spans::filter());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(spans), work);
    std::iter::from_fn(|| out.try_recv().ok()).collect()
}

fn call(traceparent: Option<&str>) {
    let call = tracing::trace_span!(
        target: "spans", "call", method = "/runtime.v1.RuntimeService/RunPodSandbox", traceparent,
        code = tracing::field::Empty, error = tracing::field::Empty
    );
    let rpc = tracing::info_span!(parent: &call, "rpc", pod_id = tracing::field::Empty);
    rpc.in_scope(|| {
        rpc.record("pod_id", "p1");
        let network = tracing::trace_span!(target: "spans", "stage", stage = "network");
        network.in_scope(|| drop(tracing::trace_span!(target: "spans", "stage", stage = "cni_add")));
    });
    call.record("code", 13i64);
    call.record("error", "no");
}

#[test]
fn a_call_is_a_child_of_its_callers_span_and_the_parent_of_its_stages() {
    let spans = traced(0, || call(Some(PARENT)));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["cni_add", "network", "runtime.v1.RuntimeService/RunPodSandbox"]);
    let [inner, outer, whole] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(hex::encode(&whole.parent_span_id), "b7ad6b7169203331");
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == "0af7651916cd43dd8448eb211c80319c"));
    assert_eq!((&inner.parent_span_id, &outer.parent_span_id), (&outer.span_id, &whole.span_id));
    assert_eq!((whole.kind, outer.kind), (SERVER, INTERNAL));
    assert!(whole.start_time_unix_nano <= inner.start_time_unix_nano);
    assert!(inner.end_time_unix_nano <= whole.end_time_unix_nano);
    for known in [KeyValue::text("corten.pod.id", "p1"), KeyValue::number("rpc.grpc.status_code", 13)] {
        assert!(whole.attributes.contains(&known), "{:?}", whole.attributes);
    }
    assert_eq!(whole.status, Some(Status { message: "no".to_owned(), code: ERROR }));
}

#[test]
fn a_caller_that_keeps_nothing_has_nothing_kept() {
    assert_eq!(traced(1_000_000, || call(Some(&PARENT.replace("-01", "-00")))), []);
}

#[test]
fn a_call_of_nobodys_trace_begins_one_where_it_is_sampled() {
    let spans = traced(1_000_000, || call(None));
    assert_eq!(spans.len(), 3);
    assert!(spans[2].parent_span_id.is_empty() && spans[2].trace_id != [0; 16]);
    assert_eq!(traced(1_000_000, || call(Some("nonsense"))).len(), 3, "it counts as none");
    assert_eq!(traced(0, || call(None)), []);
}

#[test]
fn stages_outside_of_a_call_and_spans_of_others_are_nobodys() {
    let spans = traced(1_000_000, || {
        drop(tracing::trace_span!(target: "spans", "stage", stage = "tidying"));
        drop(tracing::info_span!("rpc"));
        drop(tracing::info_span!("other"));
    });
    assert_eq!(spans, []);
}
