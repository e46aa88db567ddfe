//! From the bytes of a layer to a directory: sha256 → inflate → sha256 → extraction, in one pass.
//!
//! ```text
//! socket ──(tokio)──▶ [pieces] ──▶ thread: digest, kept bytes ──▶ [pieces] ──▶ thread: inflate
//!                                                                                   │
//!                                        thread: diff id, tar, files ◀── [buffers] ─┘
//! ```
//! All channels are bounded, so that a slow disk slows the socket instead of filling memory.

mod attributes;
mod error;
mod extract;
mod gzip;
mod header;
mod hollow;
mod inflate;
mod intake;
mod outline;
mod pax;
mod pieces;
mod pipeline;
mod spool;
mod tar;
mod tree;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testtar;

pub use error::{TarError, UnpackError};
pub(crate) use hollow::hollow;
pub(crate) use outline::{Outline, Part};
pub(crate) use pieces::Piece;
pub(crate) use pipeline::{Finished, Job, start};
pub(crate) use spool::spool;

/// Reads an uncompressed layer from front to back, contents and all, without writing anything.
pub(crate) fn read_through(bytes: &[u8]) {
    let mut archive = tar::Archive::new(bytes);
    while let Ok(Some(entry)) = archive.next() {
        let _ = tree::clean(&entry.path).map(|path| tree::split(&path).1.len());
    }
}

/// Limits on what one layer may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub bytes: u64,
    pub entries: u64,
}

/// What a layer became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of file content, in whole blocks of 4 KiB.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Whether an entry replaced an earlier one: then the files are not all that the archive held.
    pub replaced: bool,
    /// Directories that no entry describes: they had to be made for what is in them.
    pub implied: Vec<String>,
}
