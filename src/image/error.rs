//! What can go wrong with images.

use crate::digest::Digest;
use crate::hosts::HostsError;
use crate::manifest::ManifestError;
use crate::policy::PolicyError;
use crate::reference::{Reference, ReferenceError};
use crate::registry::HostAnswer;
use crate::unpack::UnpackError;
use model::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure of the image store or of a pull. No variant ever holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is no image reference.
    #[error("image reference {reference:?}: {source}")]
    Reference {
        /// What was given, shortened.
        reference: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// An id prefix that several images share.
    #[error(
        "{begin:?} is the beginning of several images' ids, give more of the one that is meant: {candidates}"
    )]
    AmbiguousId {
        /// What was given.
        begin: String,
        /// The first of them, with their names.
        candidates: String,
    },
    /// There is no such image here.
    #[error("image {0:?} is not in the store")]
    NoSuchImage(String),
    /// A `hosts.toml` cannot be used.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// The settings do not let it be pulled.
    #[error("pull {reference}: {source}")]
    Policy {
        /// What was to be pulled.
        reference: String,
        /// Which setting.
        source: PolicyError,
    },
    /// The credentials are malformed. What they hold is not shown.
    #[error("registry credentials: {0}")]
    Credentials(&'static str),
    /// No host gave the object.
    #[error("pull {reference}: {}{}", answers(.hosts), mistyped(reference))]
    Registry {
        /// What was pulled.
        reference: Box<Reference>,
        /// The answer of each host, in the order they were asked.
        hosts: Vec<HostAnswer>,
        /// What they come to.
        kind: ErrorKind,
    },
    /// A document of the image is unusable.
    #[error("pull {reference}: {source}")]
    Manifest {
        /// What was pulled.
        reference: String,
        /// Why.
        source: ManifestError,
    },
    /// A layer is unusable.
    #[error("pull {reference}: layer {digest}: {source}")]
    Layer {
        /// What was pulled.
        reference: String,
        /// The layer's digest in the manifest.
        digest: Digest,
        /// Why.
        source: UnpackError,
    },
    /// An archive of images cannot be read.
    #[error("read the archive: {0}")]
    Archive(#[source] UnpackError),
    /// An archive lacks something.
    #[error("the archive has no {missing:?}")]
    ArchiveContent {
        /// The path in it.
        missing: String,
    },
    /// An archive of nothing.
    #[error("the archive is empty: there is no file in it")]
    ArchiveEmpty,
    /// An archive of something else.
    #[error(
        "the archive holds no images: it has neither an index.json (an OCI image layout) nor a manifest.json (as `docker \
         save` writes it)"
    )]
    ArchiveKind,
    /// A document in an archive is too large.
    #[error("{name:?} in the archive has more than {limit} bytes")]
    ArchiveDocument {
        /// The path in it.
        name: String,
        /// The most that there may be.
        limit: u64,
    },
    /// A document in an archive has another digest than its name.
    #[error("the archive has content with digest {actual} for {expected}")]
    ArchiveDigest {
        /// Its name.
        expected: Digest,
        /// Its content.
        actual: Digest,
    },
    /// The runtime from which an image is adopted has not kept all of it.
    #[error("{} has no {digest}", root.display())]
    NotKept {
        /// Where its content lies.
        root: PathBuf,
        /// What is missing.
        digest: Digest,
    },
    /// The runtime from which an image is adopted has kept something else under its name.
    #[error("{} has content with digest {actual} for {expected}", root.display())]
    Spoilt {
        /// Where its content lies.
        root: PathBuf,
        /// Its name.
        expected: Digest,
        /// Its content.
        actual: Digest,
    },
    /// A name for an archive that does not hold exactly one image.
    #[error("a name can be given to one image, and the archive has {images}")]
    ArchiveName {
        /// How many there are.
        images: usize,
    },
    /// A layer that is not kept compressed and cannot be made again.
    #[error(
        "layer {diff_id} cannot be saved: what its archive held is not all in its files; with the setting \
         images.keep_layer_blobs a pull keeps it as it comes"
    )]
    Unsavable {
        /// The layer.
        diff_id: Digest,
    },
    /// Layers with too many directories that none of their entries describe.
    #[error(
        "its layers hold more directories without entries of their own than {limit} bytes of names can tell"
    )]
    Undescribed {
        /// The most bytes.
        limit: usize,
    },
    /// Something in the store is not what was pulled.
    #[error("{what} is damaged: {problem} (`corten image verify --repair` fetches it again)")]
    Damaged {
        /// A layer, or a blob.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive cannot be written.
    #[error("write the archive: {0}")]
    Save(#[source] std::io::Error),
    /// The disk has no room for it.
    #[error(
        "{source}: there is no room left below {}: `corten image df` shows what images take, `corten image prune` frees \
         what nobody uses", root.display()
    )]
    Full {
        /// Where images are.
        root: PathBuf,
        /// What could not be done.
        source: Box<ImageError>,
    },
    /// The joined download of another caller failed with this.
    #[error(transparent)]
    Joined(Arc<ImageError>),
    /// The task that did the work ended without a result.
    #[error("{operation} was interrupted")]
    Interrupted {
        /// The work.
        operation: &'static str,
    },
    /// A system call on a path of the store failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// The operation.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("image database: {operation}: {source}")]
    Database {
        /// The operation.
        operation: &'static str,
        /// The database's answer.
        source: Box<redb::Error>,
    },
    /// A record does not encode.
    #[error("image database: record of {id}: {source}")]
    Record {
        /// The record's key.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A metric cannot be registered.
    #[error("register the image metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl ImageError {
    /// The kind of failure, for the status code at the edge.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference { .. } | Self::AmbiguousId { .. } | Self::Credentials(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Archive(source) => source.kind(),
            Self::ArchiveContent { .. }
            | Self::ArchiveEmpty
            | Self::ArchiveKind
            | Self::ArchiveDocument { .. }
            | Self::ArchiveName { .. } => ErrorKind::InvalidArgument,
            Self::ArchiveDigest { .. }
            | Self::Spoilt { .. }
            | Self::Unsavable { .. }
            | Self::Damaged { .. } => ErrorKind::FailedPrecondition,
            Self::Undescribed { .. } | Self::Full { .. } => ErrorKind::ResourceExhausted,
            Self::Policy { .. } => ErrorKind::PermissionDenied,
            Self::NoSuchImage(_) | Self::NotKept { .. } => ErrorKind::NotFound,
            Self::Hosts(HostsError::Unanswered { .. }) => ErrorKind::Unavailable,
            Self::Hosts(_) => ErrorKind::FailedPrecondition,
            Self::Registry { kind, .. } => *kind,
            Self::Manifest { source, .. } => source.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::Joined(error) => error.kind(),
            Self::Io { source, .. } | Self::Save(source) => io_kind(source),
            Self::Database { source, .. } => match &**source {
                redb::Error::Io(error) => io_kind(error),
                _ => ErrorKind::Internal,
            },
            Self::Interrupted { .. } | Self::Record { .. } | Self::Metrics(_) => ErrorKind::Internal,
        }
    }

    /// With what to do about it, where images have filled their disk.
    pub(crate) fn below(self, root: &Path) -> Self {
        match self.is_full_disk() {
            true => Self::Full { root: root.to_owned(), source: Box::new(self) },
            false => self,
        }
    }

    /// Whether the disk has no room for what was to be written.
    pub(crate) fn is_full_disk(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let is_full = |error: &std::io::Error| matches!(error.kind(), StorageFull | QuotaExceeded);
        match self {
            Self::Layer { source: UnpackError::Io { source, .. }, .. }
            | Self::Archive(UnpackError::Io { source, .. })
            | Self::Io { source, .. } => is_full(source),
            Self::Database { source, .. } => matches!(&**source, redb::Error::Io(error) if is_full(error)),
            Self::Joined(error) => error.is_full_disk(),
            _ => false,
        }
    }

    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}

impl From<failpoint::Injected> for ImageError {
    fn from(injected: failpoint::Injected) -> Self {
        Self::io("reach the failpoint", injected.name)(injected.into())
    }
}

/// A full disk is the one I/O failure that a caller can do something about.
pub(crate) fn io_kind(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Internal,
    }
}

/// A hint for who did not mean a host.
fn mistyped(reference: &Reference) -> String {
    if !reference.has_upper_case_host() {
        return String::new();
    }
    let host = reference.registry();
    format!("; {host:?} is taken for the host of a registry, as names of images are written in lower case")
}

fn answers(hosts: &[HostAnswer]) -> String {
    if hosts.is_empty() {
        return "no host is configured to answer".to_owned();
    }
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
