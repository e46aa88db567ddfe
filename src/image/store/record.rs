//! What is known of an image.

use crate::digest::Digest;
use crate::manifest::RunConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// An image as clients see it. Its id is the digest of its config, everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the config.
    pub id: String,
    /// `registry/repository:tag`; none for an image whose tags moved on.
    pub repo_tags: Vec<String>,
    /// `registry/repository@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Bytes of the config and of the layers as the registry has them (compressed), as containerd counts.
    pub size: u64,
    /// Whether the kubelet's garbage collection shall leave it alone.
    pub pinned: bool,
    /// How it wants to be run.
    pub config: RunConfig,
    /// `amd64` and the like, as the config says it.
    pub architecture: String,
    /// When it was made, as the config says it.
    pub created: String,
    /// Directories for an overlay, top first.
    pub layers: Vec<PathBuf>,
    /// The config document, verbatim.
    pub config_json: String,
}

/// What images use on their filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsUsage {
    /// The directory of the store.
    pub mountpoint: PathBuf,
    /// Bytes of allocated blocks: layers, blobs, directories and records.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

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
    /// Directories without an entry of their own.
    pub implied: Vec<String>,
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
    /// The digest of its tree, taken when it was unpacked: entries of its archive replaced each other, so that the
    /// archive cannot be made again.
    Tree(Digest),
}
