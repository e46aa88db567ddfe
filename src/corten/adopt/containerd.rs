//! Which images a containerd on this host has: `meta.db` says what they are called, the content store has their bytes.

use super::bolt::{Bolt, BoltError, Bucket};
use image::{Digest, Reference};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where the database lies below the root.
const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// Where the content lies below the root.
const CONTENT: &str = "io.containerd.content.v1.content";
/// The label of images that the kubelet's garbage collection leaves alone.
const PINNED: (&[u8], &[u8]) = (b"io.cri-containerd.pinned", b"pinned");
/// How names begin that the CRI's plugin gives to ids.
const ID: &str = "sha256:";

/// Why another runtime's images cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    /// Its database cannot be read.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// There is none.
    #[error("{} has no {DATABASE}: it is not containerd's root (its `config dump` tells `root`)", root.display())]
    NoRoot {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// It knows no such namespace.
    #[error("containerd in {} has no namespace {namespace}, but {}", root.display(), listed(.there))]
    NoNamespace {
        /// Its root.
        root: PathBuf,
        /// The namespace.
        namespace: String,
        /// Those that it has.
        there: Vec<String>,
    },
    /// Its database is laid out in a way that is not known here.
    #[error("containerd in {}: its database has no {what}: it is of a version that is not known here", root.display())]
    Layout {
        /// Its root.
        root: PathBuf,
        /// What is missing.
        what: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none at all".to_owned() } else { names.join(", ") }
}

/// An image of another runtime.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignImage {
    /// With tags first, then with digests.
    pub(super) names: Vec<String>,
    /// Names that are none that a registry could have.
    pub(super) odd: Vec<String>,
    /// An index or a manifest, as it is written there.
    pub(super) digest: String,
    pub(super) media_type: String,
    pub(super) pinned: bool,
}

/// Where a containerd with this root keeps content.
pub(super) fn content(root: &Path) -> PathBuf {
    root.join(CONTENT)
}

/// Every image of the namespace, the names of one digest together.
pub(super) fn images(root: &Path, namespace: &str) -> Result<Vec<ForeignImage>, ForeignError> {
    let bolt = match Bolt::read(&root.join(DATABASE)) {
        Err(BoltError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ForeignError::NoRoot { root: root.to_owned() });
        }
        read => read?,
    };
    let layout = |what: &str| ForeignError::Layout { root: root.to_owned(), what: what.to_owned() };
    let all = bolt.root().bucket("v1")?.ok_or_else(|| layout("bucket v1"))?;
    let Some(namespace) = all.bucket(namespace)? else {
        let there = all.buckets()?.into_iter().map(|(name, _)| text(name)).collect();
        let namespace = namespace.to_owned();
        return Err(ForeignError::NoNamespace { root: root.to_owned(), namespace, there });
    };
    let mut found: BTreeMap<String, ForeignImage> = BTreeMap::new();
    let Some(images) = namespace.bucket("images")? else { return Ok(Vec::new()) };
    for (name, bucket) in images.buckets()? {
        let name = text(name);
        let target = bucket.bucket("target")?.ok_or_else(|| layout(&format!("target of image {name}")))?;
        let digest = field(&target, "digest")?;
        let image = found.entry(digest.clone()).or_insert_with(|| ForeignImage {
            names: Vec::new(),
            odd: Vec::new(),
            digest,
            media_type: String::new(),
            pinned: false,
        });
        image.media_type = field(&target, "mediatype")?;
        image.pinned |= is_pinned(&bucket)?;
        match Reference::parse(&name) {
            // What the CRI's plugin calls it beside its own names.
            _ if name.starts_with(ID) => {}
            Ok(_) => image.names.push(name),
            Err(_) => image.odd.push(name),
        }
    }
    let mut images: Vec<ForeignImage> = found.into_values().collect();
    for image in &mut images {
        image.names.sort_by_key(|name| (name.contains('@'), name.clone()));
    }
    images.sort_by(|one, other| one.names.cmp(&other.names));
    Ok(images)
}

fn is_pinned(image: &Bucket<'_>) -> Result<bool, BoltError> {
    let Some(labels) = image.bucket("labels")? else { return Ok(false) };
    Ok(labels.entries()?.iter().any(|(key, value, _)| (*key, *value) == PINNED))
}

fn field(bucket: &Bucket<'_>, name: &str) -> Result<String, BoltError> {
    Ok(bucket.value(name)?.map(text).unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The digest, where it is of the kind that is known here.
pub(super) fn digest(image: &ForeignImage) -> Result<Digest, String> {
    Digest::parse(&image.digest).map_err(|error| format!("its digest {:?}: {error}", image.digest))
}
