//! Small blobs that come in before anybody knows whether they are needed.

use super::ahead::Aborting;
use super::client::Client;
use crate::manifest::Descriptor;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Instrument as _;

/// A blob on its way; dropping it ends that.
pub(crate) struct Coming {
    bytes: oneshot::Receiver<Bytes>,
    task: Aborting,
    room: OwnedSemaphorePermit,
}

/// A blob that is there, and has the right digest.
pub(crate) struct Arrived {
    pub bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// `None` where there is no room.
pub(super) fn begin(client: &Arc<Client>, descriptor: &Descriptor) -> Option<Coming> {
    // What it grows in is at most twice as large.
    let room = client.transport.room.take(2 * descriptor.size)?;
    let (sender, bytes) = oneshot::channel();
    let (client, descriptor) = (Arc::clone(client), descriptor.clone());
    let work = async move {
        // Whoever needs it asks for it once more, and tells why it could not be had.
        let Ok(bytes) = client.small_blob(&descriptor).await else { return };
        let metrics = &client.transport.metrics;
        metrics.bytes.with_label_values(&[&client.label()]).inc_by(bytes.len() as u64);
        // Nobody may need it any more.
        let _ = sender.send(bytes);
    };
    let task = Aborting(tokio::spawn(work.in_current_span()).abort_handle());
    Some(Coming { bytes, task, room })
}

impl Coming {
    /// Waits for it; `None` where it could not be had.
    pub(crate) async fn arrived(self) -> Option<Arrived> {
        let Self { bytes, task, room } = self;
        let bytes = bytes.await.ok();
        drop(task);
        Some(Arrived { bytes: bytes?, _room: room })
    }
}
