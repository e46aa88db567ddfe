//! What the log calls the pod and the container of a request. A name and an id have each a field of their own.

use engine::Engine;
use tracing::Span;

/// The request is about a pod.
pub(super) fn pod(engine: &Engine, id: &str) {
    let span = Span::current();
    span.record("pod_id", id);
    if !span.is_disabled()
        && let Some(identity) = engine.pod_identity(id)
    {
        span.record("pod", identity.pod);
    }
}

/// The request is about a container.
pub(super) fn container(engine: &Engine, id: &str) {
    let span = Span::current();
    span.record("container_id", id);
    if !span.is_disabled()
        && let Some(identity) = engine.container_identity(id)
    {
        span.record("pod", identity.pod).record("pod_id", identity.pod_id.as_str());
        if let Some(container) = identity.container {
            span.record("container", container.name);
        }
    }
}

/// A pod was made, whose name is told already: its id and its addresses.
pub(super) fn made_pod(engine: &Engine, id: &str) {
    Span::current().record("pod_id", id);
    if let Some(identity) = engine.pod_identity(id).filter(|identity| !identity.addresses.is_empty()) {
        Span::current().record("addresses", identity.addresses);
    }
}

/// A container was made, whose name and pod are told already: its id and its image.
pub(super) fn made_container(engine: &Engine, id: &str) {
    Span::current().record("container_id", id);
    if let Some(made) = engine.container_identity(id).and_then(|identity| identity.container) {
        Span::current().record("image", made.image).record("image_id", made.image_id);
    }
}
