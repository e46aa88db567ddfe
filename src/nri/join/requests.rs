//! What a plugin asks for at a moment of its choosing.

use crate::api::{UpdateContainersRequest, UpdateContainersResponse};
use crate::bounds;
use crate::link::Incoming;
use crate::merge;
use crate::plugin::Plugin;
use crate::quiet::Quiet;
use crate::runtime::Core;
use crate::ttrpc::{Request, Status, code};
use prost::Message;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Answers one request after the other, until the plugin is gone.
pub(super) async fn answer(core: Arc<Core>, plugin: Arc<Plugin>, mut incoming: mpsc::Receiver<Incoming>) {
    let mut quiet = Quiet::default();
    loop {
        let next = tokio::select! {
            next = incoming.recv() => next,
            () = core.stop.cancelled() => return,
        };
        let Some(Incoming { stream, request, room }) = next else { return };
        let result = result(&core, &plugin, &request, &mut quiet).await;
        plugin.answer(stream, result).await;
        drop((request, room));
    }
}

async fn result(
    core: &Core,
    plugin: &Plugin,
    request: &Request,
    quiet: &mut Quiet,
) -> Result<Vec<u8>, Status> {
    let refuse = |code, message: String| Err(Status { code, message });
    match request.method.as_str() {
        "UpdateContainers" => {}
        "RegisterPlugin" => return refuse(code::FAILED_PRECONDITION, "the plugin is registered".to_owned()),
        _ => return refuse(code::UNIMPLEMENTED, "there is no such method".to_owned()),
    }
    let asked: UpdateContainersRequest = match bounds::decode(&request.payload) {
        Ok(asked) => asked,
        Err(error) => return refuse(code::INVALID_ARGUMENT, error),
    };
    if let Some(unsaid) = quiet.may_say() {
        tracing::info!(
            plugin = plugin.name,
            updates = asked.update.len(),
            evictions = asked.evict.len(),
            unsaid,
            "a plugin changes containers"
        );
    }
    if asked.update.iter().any(merge::changes_limits) || !asked.evict.is_empty() {
        plugin.counters.adjusted("UpdateContainers");
    }
    let failed = core.change(&plugin.name, asked.update, asked.evict).await;
    Ok(UpdateContainersResponse { failed }.encode_to_vec())
}
