//! What pulls are doing right now, for whoever asks.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;
use sys::sync::lock;

/// What is happening to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerPhase {
    /// It waits for its turn.
    Waiting,
    /// Its bytes come in and are unpacked.
    Pulling,
    /// It is in place.
    Done,
    /// It was in the store before.
    Cached,
}

const PHASES: [LayerPhase; 4] =
    [LayerPhase::Waiting, LayerPhase::Pulling, LayerPhase::Done, LayerPhase::Cached];

/// A layer of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerProgress {
    /// The digest in the manifest.
    pub digest: String,
    /// Compressed bytes in all.
    pub size: u64,
    /// Compressed bytes that came in.
    pub received: u64,
    /// What is happening.
    pub phase: LayerPhase,
}

/// A pull under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PullProgress {
    /// A number that tells it from others of the same reference.
    pub number: u64,
    /// What is pulled, normalised.
    pub reference: String,
    /// Seconds since it began.
    pub seconds: f64,
    /// Lowest first; empty until the manifest is known.
    pub layers: Vec<LayerProgress>,
}

/// A layer in flight; several pulls may wait for the same.
pub(crate) struct LayerState {
    digest: Digest,
    size: u64,
    received: AtomicU64,
    phase: AtomicU8,
}

impl LayerState {
    /// A layer that needs no fetching.
    pub(crate) fn cached(digest: &Digest, size: u64) -> Arc<Self> {
        let state = Self::new(digest, size);
        state.enter(LayerPhase::Cached);
        state.received.store(size, Ordering::Relaxed);
        Arc::new(state)
    }

    fn new(digest: &Digest, size: u64) -> Self {
        Self { digest: digest.clone(), size, received: AtomicU64::new(0), phase: AtomicU8::new(0) }
    }

    pub(crate) fn enter(&self, phase: LayerPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// A fetch begins, with this much there already.
    pub(crate) fn restart(&self, received: u64) {
        self.received.store(received, Ordering::Relaxed);
        self.enter(LayerPhase::Pulling);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    fn show(&self) -> LayerProgress {
        let phase = PHASES.get(usize::from(self.phase.load(Ordering::Relaxed)));
        LayerProgress {
            digest: self.digest.to_string(),
            size: self.size,
            received: self.received.load(Ordering::Relaxed),
            phase: phase.copied().unwrap_or(LayerPhase::Waiting),
        }
    }
}

/// A pull in flight; out of the table when dropped.
pub(crate) struct PullState {
    table: Arc<ProgressTable>,
    number: u64,
    reference: String,
    begin: Instant,
    layers: OnceLock<Vec<Arc<LayerState>>>,
}

impl PullState {
    /// The layers are known.
    pub(crate) fn layers(&self, layers: Vec<Arc<LayerState>>) {
        // A pull finds out about its layers once.
        let _ = self.layers.set(layers);
    }

    fn show(&self) -> PullProgress {
        PullProgress {
            number: self.number,
            reference: self.reference.clone(),
            seconds: self.begin.elapsed().as_secs_f64(),
            layers: self
                .layers
                .get()
                .map_or_else(Vec::new, |layers| layers.iter().map(|layer| layer.show()).collect()),
        }
    }
}

impl Drop for PullState {
    fn drop(&mut self) {
        lock(&self.table.pulls).remove(&self.number);
    }
}

type LayerKey = (Digest, Digest);

/// Every pull under way.
#[derive(Default)]
pub(crate) struct ProgressTable {
    next: AtomicU64,
    pulls: Mutex<BTreeMap<u64, Weak<PullState>>>,
    layers: Mutex<HashMap<LayerKey, Weak<LayerState>>>,
}

impl ProgressTable {
    pub(crate) fn begin(self: &Arc<Self>, reference: &str) -> Arc<PullState> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(PullState {
            table: Arc::clone(self),
            number,
            reference: reference.to_owned(),
            begin: Instant::now(),
            layers: OnceLock::new(),
        });
        lock(&self.pulls).insert(number, Arc::downgrade(&state));
        state
    }

    /// The layer with this diff id and digest, also where another pull fetches it.
    pub(crate) fn layer(&self, key: &LayerKey, size: u64) -> Arc<LayerState> {
        let mut layers = lock(&self.layers);
        if let Some(there) = layers.get(key).and_then(Weak::upgrade) {
            return there;
        }
        layers.retain(|_, layer| layer.strong_count() > 0);
        let state = Arc::new(LayerState::new(&key.1, size));
        layers.insert(key.clone(), Arc::downgrade(&state));
        state
    }

    pub(crate) fn list(&self) -> Vec<PullProgress> {
        // The last holder of a pull takes the lock when it drops it: none may be dropped under it.
        let pulls: Vec<Arc<PullState>> = lock(&self.pulls).values().filter_map(Weak::upgrade).collect();
        pulls.iter().map(|pull| pull.show()).collect()
    }
}
