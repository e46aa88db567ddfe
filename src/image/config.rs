//! Settings of the image store.

use crate::glob;
use crate::hosts::CertsDirs;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the image store; every field has a default but the two directories follow the daemon's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// Where images live: `blobs/`, `layers/`, `ingest/`, `meta.redb`. Made with mode 0700.
    pub root: PathBuf,
    /// The directories with one `<host>/hosts.toml` a registry; read at each pull.
    pub certs_dir: CertsDirs,
    /// How many layers are fetched and unpacked at the same time, over all pulls; 0: one a core, at least three. As many
    /// again are there for pulls that have none. Small layers may come in before their turn.
    pub parallel_layers: usize,
    /// The least compressed bytes of a layer whose download is kept on the disk as it comes in, so that one that
    /// is interrupted goes on where it was; 0: none is.
    pub resume_layer_bytes: u64,
    /// The least compressed bytes of a layer that is fetched in parts, several at once over connections of their own, from
    /// registries that know ranges; 0: none is. None is either where [`Self::registry_qps`] is a limit.
    pub split_layer_bytes: u64,
    /// Seconds for which what an interrupted pull left is kept for the next try.
    pub keep_unfinished_seconds: u64,
    /// Keeps the compressed layers too; manifests and configs are always kept.
    pub keep_layer_blobs: bool,
    /// Seconds to wait for a connection where `hosts.toml` sets no `dial_timeout`.
    pub dial_timeout_seconds: u64,
    /// Seconds without 16 KiB of progress after which a registry counts as stalled. A pull as a whole has no limit.
    pub progress_timeout_seconds: u64,
    /// The most bytes that one layer may unpack to.
    pub max_layer_bytes: u64,
    /// The most entries that one layer may have.
    pub max_layer_entries: u64,
    /// Images that the kubelet's garbage collection shall leave alone: patterns (`*` any characters, `?` one)
    /// for references as `ListImages` shows them (tag or digest).
    pub pinned: Vec<String>,
    /// How many images are pulled at the same time, identical pulls counting once; 0: no limit.
    pub max_pulls: usize,
    /// How many requests a second one registry host gets, over all pulls; 0: no limit.
    pub registry_qps: u32,
    /// How many requests may follow each other at once before [`Self::registry_qps`] holds.
    pub registry_burst: u32,
    /// Patterns for `registry/repository` that are pulled by digest only.
    pub require_digest: Vec<String>,
    /// Patterns for `registry/repository:tag` that are never pulled.
    pub refuse_tags: Vec<String>,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/corten/images"),
            certs_dir: "/etc/corten/certs.d".into(),
            parallel_layers: 0,
            resume_layer_bytes: 16 << 20,
            split_layer_bytes: 32 << 20,
            keep_unfinished_seconds: 3600,
            keep_layer_blobs: false,
            dial_timeout_seconds: 30,
            progress_timeout_seconds: 60,
            max_layer_bytes: 64 << 30,
            max_layer_entries: 4_000_000,
            pinned: Vec::new(),
            max_pulls: 0,
            registry_qps: 0,
            registry_burst: 10,
            require_digest: Vec::new(),
            refuse_tags: Vec::new(),
        }
    }
}

impl ImageConfig {
    /// The number of layers in flight that [`Self::parallel_layers`] means on this machine.
    pub(crate) fn layer_slots(&self) -> usize {
        match self.parallel_layers {
            // Three, because a layer waits for the network as much as for a core.
            0 => std::thread::available_parallelism().map_or(0, std::num::NonZero::get).max(3),
            slots => slots.min(256),
        }
    }

    pub(crate) fn dial_timeout(&self) -> Duration {
        Duration::from_secs(self.dial_timeout_seconds.max(1))
    }

    pub(crate) fn keep_unfinished(&self) -> Duration {
        Duration::from_secs(self.keep_unfinished_seconds)
    }

    /// Whether the download of a layer of so many bytes is written to the disk too, to be resumed.
    pub(crate) fn keeps_download(&self, size: u64) -> bool {
        self.resume_layer_bytes > 0 && size >= self.resume_layer_bytes
    }

    /// From how many bytes on a layer is fetched in parts. Each is a request: who limits those has a layer be one.
    pub(crate) fn split_from(&self) -> Option<u64> {
        (self.split_layer_bytes > 0 && self.registry_qps == 0).then_some(self.split_layer_bytes)
    }

    pub(crate) fn progress_timeout(&self) -> Duration {
        Duration::from_secs(self.progress_timeout_seconds.max(1))
    }

    /// Whether one of the patterns in [`Self::pinned`] names the reference.
    pub(crate) fn is_pinned(&self, reference: &str) -> bool {
        self.pinned.iter().any(|pattern| glob::matches(pattern, reference))
    }
}
