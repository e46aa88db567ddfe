//! A pull: resolve → manifest → config → layers in parallel → record.

mod adopt;
mod archive;
mod content;
mod documents;
mod early;
mod layers;
mod load;
mod slots;
mod source;

pub use adopt::{Adopted, Adoption};
pub use load::{Left, Loaded, LoadedImage};

#[cfg(test)]
mod tests;

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::flight::Flights;
use crate::hosts::Files;
use crate::metrics::Metrics;
use crate::policy;
use crate::progress::{ProgressTable, PullProgress, PullState};
use crate::reference::Reference;
use crate::registry::{Login, Resolver, Session, Transport};
use crate::store::{ImageRecord, Store};
use arc_swap::ArcSwap;
use documents::{Documents, Found};
use early::Early;
use model::ErrorKind;
use slots::Slots;
use source::Source;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What tells one pull from another: the same reference with other credentials is another pull, because
/// who may not pull an image must not get it by waiting for one who may.
type PullKey = (String, Option<Digest>);
/// A layer by its diff id and its compressed digest.
type LayerKey = (Digest, Digest);

/// What an image is found by.
struct Names {
    tags: Vec<String>,
    digests: Vec<String>,
    aliases: Vec<String>,
    /// Whether they are kept from garbage collection.
    pinned: bool,
}

/// How many pulls may be under way.
struct Turns {
    /// 0 is no limit.
    most: usize,
    left: Arc<Semaphore>,
}

impl Turns {
    fn new(most: usize) -> Self {
        Self { most, left: Arc::new(Semaphore::new(most)) }
    }

    /// Waits for a turn, which is given back when it is dropped.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        if self.most == 0 {
            return None;
        }
        // A closed semaphore lets through; this one is never closed.
        self.left.clone().acquire_owned().await.ok()
    }
}

/// Pulls images into a store.
pub(crate) struct Puller {
    store: Arc<Store>,
    metrics: Metrics,
    /// What is read of operators' files.
    pub(crate) files: Files,
    transport: ArcSwap<Transport>,
    progress: Arc<ProgressTable>,
    /// Pulls under way.
    turns: ArcSwap<Turns>,
    /// Layers in flight, over all pulls.
    slots: Arc<Slots>,
    /// Layers that come in before it is known whether they are needed.
    early: Arc<Early>,
    pulls: Arc<Flights<PullKey, Result<String, Arc<ImageError>>>>,
    layers: Arc<Flights<LayerKey, Result<(), Arc<ImageError>>>>,
}

impl Puller {
    /// What is counted of pulls and of the store.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// # Errors
    /// When there can be no threads for look-ups of names and for files of operators.
    pub(crate) fn new(store: Arc<Store>, metrics: Metrics) -> Result<Self, ImageError> {
        let config = store.config();
        let slots = Slots::new(config.layer_slots());
        let turns = ArcSwap::from_pointee(Turns::new(config.max_pulls));
        let names = Arc::new(Resolver::new()?);
        let transport = ArcSwap::from_pointee(Transport::new(&config, metrics.clone(), names));
        drop(config);
        Ok(Self {
            store,
            metrics,
            files: Files::new()?,
            transport,
            progress: Arc::default(),
            turns,
            slots,
            early: Arc::default(),
            // A client that hangs up leaves a pull that its retry finds done, or well under way.
            pulls: Flights::new(false),
            layers: Flights::new(true),
        })
    }

    /// Has something else than the C library know the addresses of hosts.
    #[cfg(test)]
    pub(crate) fn look_up_with(&self, lookup: Box<crate::registry::Lookup>) -> Result<(), ImageError> {
        let names = Arc::new(Resolver::with(lookup)?);
        let transport = Transport::new(&self.store.config(), self.metrics.clone(), names);
        self.transport.store(Arc::new(transport));
        Ok(())
    }

    /// Takes over other settings, for pulls and layers to come; those under way keep theirs.
    pub(crate) fn reconfigure(&self, config: &ImageConfig) {
        self.slots.set(config.layer_slots());
        if self.turns.load().most != config.max_pulls {
            self.turns.store(Arc::new(Turns::new(config.max_pulls)));
        }
        self.transport.store(Arc::new(self.transport.load().with(config)));
    }

    /// Pulls the image, or waits for the identical pull that is under way; the image's id.
    pub(crate) async fn pull(
        self: &Arc<Self>,
        reference: Reference,
        login: Option<Login>,
    ) -> Result<String, ImageError> {
        let key = (reference.to_string(), login.as_ref().map(|login| login.fingerprint.clone()));
        let (this, own) = (Arc::clone(self), key.clone());
        let ticket = self.pulls.join(key, move || async move {
            let started = Instant::now();
            let state = this.progress.begin(&reference.to_string());
            this.metrics.pulling.inc();
            let result = this.run(&reference, login.as_ref(), &state).await;
            let result = result.map_err(|error| error.below(&this.store.config().root));
            this.metrics.pulling.dec();
            drop(state);
            let seconds = started.elapsed().as_secs_f64();
            this.metrics.finished(result.as_ref().err(), seconds);
            // Whoever waits for it says so.
            match (&result, this.pulls.is_awaited(&own)) {
                (Ok(id), true) => tracing::debug!(%reference, id, seconds, "image pulled"),
                (Err(error), true) => tracing::debug!(%reference, %error, seconds, "image pull failed"),
                (Ok(id), false) => {
                    tracing::info!(%reference, id, seconds, "image pulled, and its client has gone");
                }
                (Err(error), false) => {
                    tracing::warn!(%reference, %error, seconds, "image pull failed, and its client has gone");
                }
            }
            this.clean_up(result.as_ref().err());
            result.map_err(Arc::new)
        });
        match ticket.result().await {
            Some(Ok(id)) => Ok(id),
            Some(Err(error)) => Err(ImageError::Joined(error)),
            None => Err(ImageError::Interrupted { operation: "pulling the image" }),
        }
    }

    /// Every pull under way.
    pub(crate) fn progress(&self) -> Vec<PullProgress> {
        self.progress.list()
    }

    async fn run(
        self: &Arc<Self>,
        reference: &Reference,
        login: Option<&Login>,
        state: &PullState,
    ) -> Result<String, ImageError> {
        let config = self.store.config();
        policy::check(&config, reference)
            .map_err(|source| ImageError::Policy { reference: reference.to_string(), source })?;
        let certs_dir = config.certs_dir.clone();
        drop(config);
        let hosts = self.files.hosts(&certs_dir, reference).await?;
        let session = Session::new(reference, hosts, login, &self.transport.load())?;
        let _turn = self.turns.load_full().wait().await;
        let found = Found::fetch(&session, reference).await?;
        let (top, manifest) = (found.top.clone(), found.digest.clone());
        let _early = self.ask_early(&session, &found.manifest).await;
        let documents = found.documents(&session, reference).await?;
        self.early.know(&documents);
        failpoint::reach!("image.pull.resolved")?;
        let names = Names {
            tags: reference.tag().map(|_| reference.to_string()).into_iter().collect(),
            digests: vec![reference.with_digest(&top)],
            aliases: vec![reference.with_digest(&manifest)],
            pinned: false,
        };
        let source = Arc::new(Source::Registry(session));
        self.bring(&source, &reference.to_string(), names, &documents, state).await
    }

    /// Fetches the layers and records the image; its id.
    async fn bring(
        self: &Arc<Self>,
        source: &Arc<Source>,
        shown: &str,
        names: Names,
        documents: &Documents,
        state: &PullState,
    ) -> Result<String, ImageError> {
        let lease = self.store.lease(documents.diff_ids.clone());
        let writing = self.write_documents(documents);
        let fetched = self.fetch_layers(source, shown, documents, state).await;
        // Awaited also after a failure: the clean-up must not come before what it cleans up.
        let written = writing.await;
        if let Err(error) = fetched {
            if !is_passing(&error) {
                // The next try would fail in the same way.
                self.store.forget_unfinished(&documents.diff_ids);
            }
            return Err(error);
        }
        written.unwrap_or(Err(ImageError::Interrupted { operation: "writing the documents" }))?;
        let store = Arc::clone(&self.store);
        let record = self.record(names, documents);
        let committed = tokio::task::spawn_blocking(move || store.finish_image(record)).await;
        drop(lease);
        committed.unwrap_or(Err(ImageError::Interrupted { operation: "recording the image" }))?;
        Ok(documents.id.to_string())
    }

    /// Keeps index, manifest and config, while the layers come in.
    fn write_documents(&self, documents: &Documents) -> tokio::task::JoinHandle<Result<(), ImageError>> {
        let (store, kept) = (Arc::clone(&self.store), documents.kept.clone());
        tokio::task::spawn_blocking(move || {
            for (digest, bytes) in &kept {
                store.layout.write_blob(digest, bytes)?;
            }
            failpoint::reach!("image.pull.documented")?;
            store.layout.sync_blobs()
        })
    }

    fn record(&self, names: Names, documents: &Documents) -> ImageRecord {
        let layers = documents.layers.iter();
        let size = layers.clone().map(|layer| layer.size).sum::<u64>() + documents.config_json.len() as u64;
        let mut blobs: Vec<_> =
            documents.kept.iter().map(|(digest, bytes)| (digest.clone(), bytes.len() as u64)).collect();
        if self.store.config().keep_layer_blobs {
            // A layer that was there already may have come without its blob.
            let there = layers.filter(|layer| self.store.layout.blob(&layer.digest).exists());
            blobs.extend(there.map(|layer| (layer.digest.clone(), layer.size)));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        ImageRecord {
            id: documents.id.to_string(),
            hidden: false,
            tags: names.tags.into_iter().collect(),
            digests: names.digests.into_iter().collect(),
            aliases: names.aliases.into_iter().collect(),
            size,
            layers: documents.diff_ids.clone(),
            blobs,
            fixup: 0,
            config_json: documents.config_json.clone(),
            pulled_at: now.map_or(0, |time| time.as_secs()),
            pinned: names.pinned,
        }
    }

    /// After a success, makes it durable in the background: a power loss before that is noticed at the next
    /// start. After a failure, frees what no image uses.
    fn clean_up(&self, error: Option<&ImageError>) {
        let success = error.is_none();
        // Where the disk is full, every byte counts.
        let all = error.is_some_and(|error| error.kind() == ErrorKind::ResourceExhausted);
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        tokio::task::spawn_blocking(move || {
            let result = if success { store.make_durable() } else { store.sweep(all) };
            store.measure(&metrics);
            if let Err(error) = result {
                tracing::warn!(%error, success, "tidying after a pull failed");
            }
        });
    }
}

/// Whether the same pull may do better later, and then has use for what came in.
fn is_passing(error: &ImageError) -> bool {
    error.kind() == ErrorKind::Unavailable
}
