//! The layers of a pull: in parallel, the largest first, each fetched once.

use super::documents::Documents;
use super::source::Source;
use super::{LayerKey, Puller, is_passing};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::flight::Ticket;
use crate::manifest::Descriptor;
use crate::progress::{LayerPhase, LayerState, PullState};
use crate::registry::{Arrived, Brought, Sink};
use crate::store::{Check, LayerRecord, Partial};
use crate::unpack::{self, Job, Limits, Piece, UnpackError};
use crate::verify;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that are read at a time of what was kept.
const REPLAY: usize = 256 << 10;

type LayerTicket = Ticket<LayerKey, Result<(), Arc<ImageError>>>;

/// One layer of one pull.
#[derive(Clone)]
struct Wanted {
    source: Arc<Source>,
    reference: String,
    layer: Descriptor,
    diff_id: Digest,
    state: Arc<LayerState>,
    /// The pull, among those that share the turns.
    pull: u64,
}

impl Puller {
    /// Brings every layer into the store. The first failure ends the others that nobody else waits for.
    pub(super) async fn fetch_layers(
        self: &Arc<Self>,
        source: &Arc<Source>,
        shown: &str,
        documents: &Documents,
        pull: &PullState,
    ) -> Result<(), ImageError> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut seen = HashSet::new();
        let mut states = Vec::with_capacity(documents.layers.len());
        let number = self.slots.pull();
        for (layer, diff_id) in documents.layers.iter().zip(&documents.diff_ids) {
            if !seen.insert(diff_id) {
                continue;
            }
            let (digest, size) = (&layer.digest, layer.size);
            if self.store.is_there(diff_id) {
                self.metrics.layers_reused.inc();
                states.push(LayerState::cached(digest, size));
                continue;
            }
            let state = self.progress.layer(&(diff_id.clone(), digest.clone()), size);
            states.push(Arc::clone(&state));
            wanted.push(Wanted {
                source: Arc::clone(source),
                reference: shown.to_owned(),
                layer: layer.clone(),
                diff_id: diff_id.clone(),
                state,
                pull: number,
            });
        }
        pull.layers(states);
        wanted.sort_by_key(|wanted| std::cmp::Reverse(wanted.layer.size));
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
        let key = (wanted.diff_id.clone(), wanted.layer.digest.clone());
        let this = Arc::clone(self);
        // Where the layer is under way already, what came early of it is not needed.
        let coming = self.early.take(&wanted.layer.digest);
        self.layers.join(key, move || {
            // The queue is entered now, not when the future is first looked at; by what is on its way already, once it is here.
            let turn = coming.is_none().then(|| this.slots.queue(wanted.pull));
            async move {
                let arrived = match coming {
                    Some(coming) => coming.arrived().await,
                    None => None,
                };
                let _slot = turn.unwrap_or_else(|| this.slots.queue(wanted.pull)).await;
                this.fetch_layer(&wanted, arrived).await.map_err(Arc::new)
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
    async fn fetch_layer(
        self: &Arc<Self>,
        wanted: &Wanted,
        mut arrived: Option<Arrived>,
    ) -> Result<(), ImageError> {
        loop {
            if self.store.layer(&wanted.diff_id).is_some() {
                wanted.state.enter(LayerPhase::Cached);
                return Ok(());
            }
            let Attempt { host, resumed, anew, result } = self.attempt(wanted, arrived.take()).await;
            let Err(error) = result else { return Ok(()) };
            let wrong = matches!(&error, ImageError::Layer { source, .. } if source.is_wrong_content());
            let digest = &wanted.layer.digest;
            if anew {
                tracing::warn!(layer = %digest, "a host broke off in a layer, fetching all of it from the next one");
            } else if wrong && resumed {
                // What an earlier try left may be what is wrong, and is gone now.
                tracing::warn!(layer = %digest, %error, "what was kept of a layer did not fit the rest, fetching it whole");
            } else if wrong && host.is_some_and(|host| wanted.source.distrust(host, &error.to_string())) {
                tracing::warn!(layer = %digest, %error, "a host sent wrong content, asking the next one");
            } else {
                return Err(told(error, wanted));
            }
        }
    }

    async fn attempt(self: &Arc<Self>, wanted: &Wanted, arrived: Option<Arrived>) -> Attempt {
        let failed = |error| Attempt { host: None, resumed: false, anew: false, result: Err(error) };
        let descriptor = &wanted.layer;
        let config = self.store.config();
        let keeps_blob = config.keep_layer_blobs;
        let keeps = keeps_blob || (wanted.source.is_remote() && config.keeps_download(descriptor.size));
        drop(config);
        let partial = if keeps { self.store.partial(&descriptor.digest, descriptor.size) } else { Ok(None) };
        let partial = match partial {
            Ok(partial) => partial,
            Err(error) => return failed(error),
        };
        let from = partial.as_ref().map_or(0, Partial::length);
        let mut attempt = self.stream(wanted, partial.as_ref(), arrived).await;
        attempt.resumed = from > 0;
        match (partial, &attempt.result) {
            (Some(partial), Ok(())) if keeps_blob => {
                if let Err(error) = self.keep_blob(partial).await {
                    attempt.result = Err(error);
                }
            }
            (Some(partial), Ok(())) => partial.discard(),
            (Some(partial), Err(error)) if attempt.anew || !is_passing(error) => partial.discard(),
            _ => {}
        }
        attempt
    }

    /// What was kept of it and then the rest from the hosts, or what is there of it already, through the pipeline, into its place.
    async fn stream(
        self: &Arc<Self>,
        wanted: &Wanted,
        partial: Option<&Partial>,
        arrived: Option<Arrived>,
    ) -> Attempt {
        let refuse = |source: UnpackError| ImageError::Layer {
            reference: wanted.reference.clone(),
            digest: wanted.layer.digest.clone(),
            source,
        };
        let attempt = |host, result| Attempt { host, resumed: false, anew: false, result };
        let running = match self.job(wanted, partial).and_then(|job| unpack::start(job).map_err(refuse)) {
            Ok(running) => running,
            Err(error) => return attempt(None, Err(error)),
        };
        let begin = Instant::now();
        let from = partial.map_or(0, Partial::length);
        wanted.state.restart(from);
        let replayed = match partial {
            Some(partial) if from > 0 => replay(partial, running.input()).await,
            _ => Ok(()),
        };
        let served = match replayed {
            Ok(()) => {
                let mut sink = ToPipeline { input: running.input(), state: &wanted.state };
                match arrived {
                    Some(arrived) if from == 0 => {
                        pass_on(arrived, &mut sink).await;
                        Ok(Brought::Whole(None))
                    }
                    _ => wanted.source.blob(&wanted.layer, from, &mut sink).await,
                }
            }
            Err(error) => Err(error),
        };
        let finished = running.finish(matches!(served, Ok(Brought::Whole(_)))).await;
        let host = match &served {
            Ok(Brought::Whole(host)) => *host,
            Ok(Brought::Anew) => {
                let error = ImageError::Interrupted { operation: "fetching a layer" };
                return Attempt { anew: true, ..attempt(None, Err(error)) };
            }
            Err(_) => None,
        };
        match (served, finished) {
            (_, Ok(finished)) => {
                let placed = self.place(wanted, finished).await;
                self.metrics.layer_seconds.observe(begin.elapsed().as_secs_f64());
                attempt(host, placed)
            }
            // Half a layer is wrong whatever it holds: what the hosts did says more.
            (Err(error), Err(problem))
                if matches!(problem, UnpackError::Aborted) || problem.is_wrong_content() =>
            {
                attempt(None, Err(error))
            }
            (_, Err(error)) => attempt(host, Err(refuse(error))),
        }
    }

    /// The compressed layer stays.
    async fn keep_blob(&self, partial: Partial) -> Result<(), ImageError> {
        let store = Arc::clone(&self.store);
        let kept = tokio::task::spawn_blocking(move || {
            let target = store.layout.blob(partial.digest());
            partial.place(&target)?;
            store.layout.sync_blobs()
        });
        kept.await.unwrap_or(Err(ImageError::Interrupted { operation: "keeping a layer" }))
    }

    fn job(&self, wanted: &Wanted, partial: Option<&Partial>) -> Result<Job, ImageError> {
        let config = self.store.config();
        Ok(Job {
            layer: wanted.layer.clone(),
            diff_id: wanted.diff_id.clone(),
            directory: self.store.layout.ingest_dir()?,
            outline: self.store.layout.ingest_file()?,
            keep: partial.map(Partial::end).transpose()?,
            limits: Limits::new(wanted.layer.size, config.max_layer_bytes, config.max_layer_entries),
            growing: self.store.growing(),
        })
    }

    async fn place(&self, wanted: &Wanted, finished: unpack::Finished) -> Result<(), ImageError> {
        let store = Arc::clone(&self.store);
        let diff_id = wanted.diff_id.clone();
        let placed = tokio::task::spawn_blocking(move || {
            failpoint::reach!("image.layer.unpacked")?;
            let check = match finished.unpacked.lossy {
                true => Check::Sum(verify::tree_digest(finished.directory.path())?),
                false => Check::Outline { bytes: finished.outline.disk_usage()? },
            };
            let implied = finished.unpacked.implied.texts(unpack::FEW);
            let record = LayerRecord {
                bytes: finished.unpacked.bytes,
                inodes: finished.unpacked.inodes,
                measured: false,
                outlined: implied.is_none(),
                implied: implied.unwrap_or_default(),
                check,
                boot_id: Some(store.boot_id.clone()),
            };
            store.place_layer(&diff_id, finished.directory, finished.outline, record)
        });
        let placed = placed.await.unwrap_or(Err(ImageError::Interrupted { operation: "placing a layer" }));
        if placed.is_ok() {
            self.metrics.layers_pulled.inc();
            wanted.state.enter(LayerPhase::Done);
        }
        placed
    }
}

/// One try to get a layer.
struct Attempt {
    /// The number of the host that sent the last byte, if one did.
    host: Option<usize>,
    /// Whether the first bytes were kept from an earlier try.
    resumed: bool,
    /// Whether another host is to serve all of it.
    anew: bool,
    result: Result<(), ImageError>,
}

/// Of something that is neither called a layer nor an archive, that.
fn told(error: ImageError, wanted: &Wanted) -> ImageError {
    match error {
        ImageError::Layer { reference, source: UnpackError::Tar(_) | UnpackError::Inflate(_), .. }
            if !wanted.layer.says_layer() =>
        {
            ImageError::Manifest { reference, source: wanted.layer.no_layer() }
        }
        other => other,
    }
}

/// Sends what is kept of a layer through the pipeline.
async fn replay(partial: &Partial, input: tokio::sync::mpsc::Sender<Piece>) -> Result<(), ImageError> {
    let (file, length) = (partial.handle()?, partial.length());
    let read = tokio::task::spawn_blocking(move || {
        let mut at = 0;
        while at < length {
            let mut piece = vec![0; usize::try_from(length - at).map_or(REPLAY, |rest| rest.min(REPLAY))];
            file.read_exact_at(&mut piece, at)?;
            at += piece.len() as u64;
            if input.blocking_send(Piece::Kept(Bytes::from(piece))).is_err() {
                // The pipeline has failed and says why.
                break;
            }
        }
        Ok(())
    });
    let read = read.await.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into()));
    read.map_err(ImageError::io("read", partial.path()))
}

/// Sends what came in early through the pipeline.
async fn pass_on(mut arrived: Arrived, sink: &mut ToPipeline<'_>) {
    while !arrived.bytes.is_empty() {
        let piece = arrived.bytes.split_to(arrived.bytes.len().min(REPLAY));
        if !sink.take(piece).await {
            // The pipeline has failed and says why.
            return;
        }
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
        failpoint::pass!("image.layer.received");
        self.input.send(Piece::Data(piece)).await.is_ok()
    }
}
