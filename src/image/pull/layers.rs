//! The layers of a pull: in parallel, the largest first, each fetched once.

use super::documents::Documents;
use super::{LayerKey, Puller};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::flight::Ticket;
use crate::manifest::{Compression, Layer};
use crate::progress::{LayerPhase, LayerState, PullState};
use crate::reference::Reference;
use crate::registry::{Session, Sink};
use crate::store::LayerRecord;
use crate::unpack::{self, Job, Limits, Piece, UnpackError};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

type LayerTicket = Ticket<LayerKey, Result<(), Arc<ImageError>>>;

/// One layer of one pull.
#[derive(Clone)]
struct Wanted {
    session: Arc<Session>,
    reference: String,
    layer: Layer,
    diff_id: Digest,
    state: Arc<LayerState>,
}

impl Puller {
    /// Brings every layer into the store. The first failure ends the others that nobody else waits for.
    pub(super) async fn fetch_layers(
        self: &Arc<Self>,
        session: &Arc<Session>,
        reference: &Reference,
        documents: &Documents,
        pull: &PullState,
    ) -> Result<(), ImageError> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut seen = HashSet::new();
        let mut states = Vec::with_capacity(documents.layers.len());
        for (layer, diff_id) in documents.layers.iter().zip(&documents.diff_ids) {
            if !seen.insert(diff_id) {
                continue;
            }
            let (digest, size) = (&layer.descriptor.digest, layer.descriptor.size);
            if self.store.layer(diff_id).is_some() {
                self.metrics.layers_reused.inc();
                states.push(LayerState::cached(digest, size));
                continue;
            }
            let state = self.progress.layer(&(diff_id.clone(), digest.clone()), size);
            states.push(Arc::clone(&state));
            wanted.push(Wanted {
                session: Arc::clone(session),
                reference: reference.to_string(),
                layer: layer.clone(),
                diff_id: diff_id.clone(),
                state,
            });
        }
        pull.layers(states);
        wanted.sort_by_key(|wanted| std::cmp::Reverse(wanted.layer.descriptor.size));
        // All join before any is awaited: the slots are given out in this order.
        let tickets: Vec<_> = wanted.into_iter().map(|wanted| (self.start(wanted.clone()), wanted)).collect();
        let mut waiting: FuturesUnordered<_> =
            tickets.into_iter().map(|(ticket, wanted)| self.settle(ticket, wanted)).collect();
        while let Some(result) = waiting.next().await {
            result?;
        }
        Ok(())
    }

    fn start(self: &Arc<Self>, wanted: Wanted) -> LayerTicket {
        let key = (wanted.diff_id.clone(), wanted.layer.descriptor.digest.clone());
        let this = Arc::clone(self);
        self.layers.join(key, move || {
            let mut slot = Box::pin(Arc::clone(&this.slots).acquire_owned());
            // The queue of the slots is entered when the future is first looked at, not when it is made.
            let early = slot.as_mut().now_or_never();
            async move {
                let _slot = match early {
                    Some(slot) => slot,
                    None => slot.await,
                };
                this.fetch_layer(&wanted).await.map_err(Arc::new)
            }
        })
    }

    /// Waits for the layer. When the work was another pull's and failed, it is tried with this pull's own
    /// hosts and credentials: the failure may have been theirs alone.
    async fn settle(self: &Arc<Self>, ticket: LayerTicket, wanted: Wanted) -> Result<(), ImageError> {
        let mut ticket = ticket;
        for _ in 0..3 {
            let joined = ticket.joined;
            match ticket.result().await {
                Some(Ok(())) => {
                    if joined {
                        self.metrics.layers_reused.inc();
                    }
                    return Ok(());
                }
                Some(Err(error)) if !joined => return Err(ImageError::Joined(error)),
                None if !joined => break,
                _ => ticket = self.start(wanted.clone()),
            }
        }
        Err(ImageError::Interrupted { operation: "fetching a layer" })
    }

    /// Fetches and unpacks the layer; a host that sends something wrong is left out and the next one asked.
    async fn fetch_layer(self: &Arc<Self>, wanted: &Wanted) -> Result<(), ImageError> {
        loop {
            if self.store.layer(&wanted.diff_id).is_some() {
                wanted.state.enter(LayerPhase::Cached);
                return Ok(());
            }
            let (host, result) = self.attempt(wanted).await;
            match (host, result) {
                (_, Ok(())) => return Ok(()),
                (Some(host), Err(ImageError::Layer { source, digest, .. }))
                    if source.is_wrong_content() && wanted.session.distrust(host) =>
                {
                    tracing::warn!(layer = %digest, error = %source, "a host sent wrong content, asking the next one");
                }
                (_, Err(error)) => return Err(error),
            }
        }
    }

    /// One try; also the number of the host that sent the last byte, if one did.
    async fn attempt(self: &Arc<Self>, wanted: &Wanted) -> (Option<usize>, Result<(), ImageError>) {
        let refuse = |source: UnpackError| ImageError::Layer {
            reference: wanted.reference.clone(),
            digest: wanted.layer.descriptor.digest.clone(),
            source,
        };
        let running = match self.job(wanted).and_then(|job| unpack::start(job).map_err(refuse)) {
            Ok(running) => running,
            Err(error) => return (None, Err(error)),
        };
        let begin = Instant::now();
        wanted.state.restart(0);
        let mut sink = ToPipeline { input: running.input(), state: &wanted.state };
        let served = wanted.session.blob(&wanted.layer.descriptor, &mut sink).await;
        drop(sink);
        let finished = running.finish(served.is_ok()).await;
        match (served, finished) {
            (served, Ok(finished)) => {
                let placed = self.place(wanted, finished).await;
                self.metrics.layer_seconds.observe(begin.elapsed().as_secs_f64());
                (served.ok(), placed)
            }
            (Err(error), Err(UnpackError::Aborted)) => (None, Err(error)),
            (served, Err(error)) => (served.ok(), Err(refuse(error))),
        }
    }

    fn job(&self, wanted: &Wanted) -> Result<Job, ImageError> {
        let config = &self.store.config;
        if wanted.layer.compression == Compression::None && wanted.layer.descriptor.digest != wanted.diff_id {
            return Err(ImageError::Layer {
                reference: wanted.reference.clone(),
                digest: wanted.layer.descriptor.digest.clone(),
                source: UnpackError::DiffId {
                    expected: wanted.diff_id.clone(),
                    actual: wanted.layer.descriptor.digest.clone(),
                },
            });
        }
        Ok(Job {
            layer: wanted.layer.clone(),
            diff_id: wanted.diff_id.clone(),
            directory: self.store.layout.ingest_dir()?,
            keep: if config.keep_layer_blobs { Some(self.store.layout.ingest_file()?) } else { None },
            limits: Limits { bytes: config.max_layer_bytes, entries: config.max_layer_entries },
        })
    }

    async fn place(&self, wanted: &Wanted, finished: unpack::Finished) -> Result<(), ImageError> {
        let store = Arc::clone(&self.store);
        let (diff_id, digest) = (wanted.diff_id.clone(), wanted.layer.descriptor.digest.clone());
        let placed = tokio::task::spawn_blocking(move || {
            if let Some(blob) = finished.blob {
                blob.place(&store.layout.blob(&digest))?;
                store.layout.sync_blobs()?;
            }
            let record = LayerRecord {
                bytes: finished.unpacked.bytes,
                inodes: finished.unpacked.inodes,
                implied: finished.unpacked.implied,
                boot_id: Some(store.boot_id.clone()),
            };
            store.place_layer(&diff_id, finished.directory, record)
        });
        let placed = placed.await.unwrap_or(Err(ImageError::Interrupted { operation: "placing a layer" }));
        if placed.is_ok() {
            self.metrics.layers_pulled.inc();
            wanted.state.enter(LayerPhase::Done);
        }
        placed
    }
}

/// Hands what the socket gives to the pipeline of a layer.
struct ToPipeline<'a> {
    input: tokio::sync::mpsc::Sender<Piece>,
    state: &'a LayerState,
}

impl Sink for ToPipeline<'_> {
    async fn take(&mut self, piece: Bytes) -> bool {
        self.state.add(piece.len() as u64);
        self.input.send(Piece::Data(piece)).await.is_ok()
    }
}
