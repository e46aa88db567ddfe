//! What the log calls the pod and the container of a request. A name and an id have each a field of their own.

use engine::{Engine, Identity};
use tracing::Span;

/// The request is about a pod.
pub(super) fn pod(engine: &Engine, id: &str) {
    let span = Span::current();
    span.record("pod_id", id);
    if !span.is_disabled()
        && let Some(identity) = engine.pod_identity(id)
    {
        record(&span, &identity);
    }
}

/// The request is about a container.
pub(super) fn container(engine: &Engine, id: &str) {
    let span = Span::current();
    span.record("container_id", id);
    if !span.is_disabled()
        && let Some(identity) = engine.container_identity(id)
    {
        record(&span, &identity);
    }
}

/// A pod was made: its addresses too.
pub(super) fn made_pod(engine: &Engine, id: &str) {
    pod(engine, id);
    if let Some(identity) = engine.pod_identity(id).filter(|identity| !identity.addresses.is_empty()) {
        Span::current().record("addresses", identity.addresses);
    }
}

/// A container was made: its image too.
pub(super) fn made_container(engine: &Engine, id: &str) {
    container(engine, id);
    if let Some(made) = engine.container_identity(id).and_then(|identity| identity.container) {
        Span::current().record("image", made.image).record("image_id", made.image_id);
    }
}

fn record(span: &Span, identity: &Identity) {
    span.record("pod", identity.pod.as_str()).record("pod_id", identity.pod_id.as_str());
    if let Some(container) = &identity.container {
        span.record("container", container.name.as_str());
    }
}
