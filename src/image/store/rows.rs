//! What the database keeps of images and layers.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An image in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub id: String,
    /// Removed for clients; kept while a container uses its layers.
    pub hidden: bool,
    pub tags: BTreeSet<String>,
    pub digests: BTreeSet<String>,
    /// Repo digests of the manifest under the index: found by, not shown.
    pub aliases: BTreeSet<String>,
    pub size: u64,
    /// Diff ids, lowest first.
    pub layers: Vec<Digest>,
    /// Everything in `blobs/` with its size: index, manifest, config, and kept layers.
    pub blobs: Vec<(Digest, u64)>,
    /// Inodes of the fix-up layer; 0 where there is none.
    pub fixup: u64,
    /// The config document, verbatim.
    pub config_json: String,
    /// Unix time in seconds of the last pull.
    pub pulled_at: u64,
    /// Whether the runtime from which it was adopted kept it from garbage collection.
    #[serde(default)]
    pub pinned: bool,
}

/// A layer in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Bytes on the disk: its files' in whole blocks, until it is measured.
    pub bytes: u64,
    pub inodes: u64,
    /// Whether bytes and inodes were counted on the disk.
    #[serde(default)]
    pub measured: bool,
    /// Directories without an entry of their own, where they are few.
    pub implied: Vec<String>,
    /// They are many: their paths are behind the layer's outline.
    #[serde(default)]
    pub outlined: bool,
    /// What its content can be held against.
    #[serde(default)]
    pub check: Check,
    /// Of the boot in which it was written, until it is known to be on the disk: after a power loss it is
    /// not trusted.
    pub boot_id: Option<String>,
}

/// What a layer's content can be held against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Check {
    /// Nothing: it was unpacked by an earlier version.
    #[default]
    Nothing,
    /// Its diff id, by the outline of its archive.
    Outline {
        /// Bytes of the outline on the disk.
        bytes: u64,
    },
    /// A digest of its tree, as an earlier version took it.
    Tree(Digest),
    /// The digest of its tree, taken when it was unpacked: entries of its archive replaced each other, so that the
    /// archive cannot be made again.
    Sum(Digest),
}
