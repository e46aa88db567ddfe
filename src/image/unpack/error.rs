//! Why a layer cannot be unpacked.

use crate::digest::Digest;
use crate::error::io_kind;
use model::ErrorKind;
use std::io;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is malformed or asks for something that is refused.
    #[error("tar: {0}")]
    Tar(#[from] TarError),
    /// It does not even begin as an archive.
    #[error("it is no tar archive, plain or compressed with gzip or zstd")]
    NoArchive,
    /// The compressed stream is damaged.
    #[error("decompress: {0}")]
    Inflate(#[source] io::Error),
    /// A system call failed.
    #[error("{operation} {path:?}: {source}")]
    Io {
        /// The operation.
        operation: &'static str,
        /// The path: of an entry in the layer, or of the store.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Other compressed bytes than the manifest names.
    #[error("the content has digest {actual}")]
    Digest {
        /// Got.
        actual: Digest,
    },
    /// Another number of compressed bytes than the manifest names.
    #[error("the content has {actual} bytes, the manifest says {expected}")]
    Size {
        /// In the manifest.
        expected: u64,
        /// Got.
        actual: u64,
    },
    /// Other uncompressed bytes than the config names.
    #[error("the unpacked content has diff id {actual}, the config says {expected}")]
    DiffId {
        /// In the config.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
    /// More than the settings allow.
    #[error("it unpacks to more than {limit} {what}")]
    Limit {
        /// Bytes or entries.
        what: &'static str,
        /// The setting.
        limit: u64,
    },
    /// Ways through too many directories and links.
    #[error("its paths lead through more than {limit} directories and links, too many for its size")]
    Steps {
        /// In proportion to its compressed size.
        limit: u64,
    },
    /// An extended attribute for which the filesystem has no room, however much is free.
    #[error(
        "extended attribute {name:?} of {path:?}: the filesystem takes no {length} bytes of attributes on one file"
    )]
    XattrRoom {
        /// The entry.
        path: String,
        /// The attribute.
        name: String,
        /// Of its value.
        length: usize,
    },
    /// The other half of the pipeline failed first, or the pull was given up.
    #[error("unpacking was given up")]
    Aborted,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream ends within an entry, or cannot be read.
    #[error("read: {0}")]
    Read(#[from] io::Error),
    /// A header's checksum is wrong.
    #[error("a header has a wrong checksum")]
    Checksum,
    /// A number that cannot be read or is out of range.
    #[error("a header has a malformed {0}")]
    Number(&'static str),
    /// A PAX record that cannot be read.
    #[error("a PAX header is malformed")]
    Pax,
    /// A long name or PAX header over the limit.
    #[error("an extended header has {0} bytes, which is too many")]
    ExtendedSize(u64),
    /// A path that leaves the layer or cannot exist.
    #[error("path {0:?} is refused")]
    Path(String),
    /// A hard link whose target is not in the layer.
    #[error("hard link {path:?} has no target {target:?} in the layer")]
    LinkTarget {
        /// The entry.
        path: String,
        /// What it links to.
        target: String,
    },
    /// A type that is not supported.
    #[error("entry {path:?} has type {kind:?}, which is not supported")]
    Type {
        /// The entry.
        path: String,
        /// The type's letter.
        kind: char,
    },
    /// A map of a file's holes that cannot be read, or that its content does not fit.
    #[error("the map of a sparse file is malformed")]
    Map,
    /// A sparse file where none is expected.
    #[error("entry {0:?} is a sparse file, which an archive of images cannot have")]
    Sparse(String),
    /// More extended headers than any entry needs.
    #[error("an entry has more than {0} extended headers")]
    Headers(u32),
    /// More records of extended headers than any archive of its size needs.
    #[error("its extended headers have too many records for its size")]
    Records,
    /// A path that is longer than the kernel takes.
    #[error("path {path:?}… has more than {limit} bytes")]
    Long {
        /// How it begins.
        path: String,
        /// The most bytes, links resolved.
        limit: usize,
    },
}

impl UnpackError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tar(TarError::Read(_)) | Self::Inflate(_) => ErrorKind::FailedPrecondition,
            Self::Tar(_) | Self::NoArchive => ErrorKind::InvalidArgument,
            Self::Io { source, .. } => io_kind(source),
            Self::Digest { .. } | Self::Size { .. } | Self::DiffId { .. } => ErrorKind::FailedPrecondition,
            Self::Limit { .. } | Self::Steps { .. } => ErrorKind::ResourceExhausted,
            Self::XattrRoom { .. } => ErrorKind::FailedPrecondition,
            Self::Aborted => ErrorKind::Internal,
        }
    }

    /// Whether other bytes from another host could make it right.
    pub(crate) fn is_wrong_content(&self) -> bool {
        matches!(
            self,
            Self::Digest { .. } | Self::Size { .. } | Self::Inflate(_) | Self::Tar(_) | Self::DiffId { .. }
        )
    }
}
