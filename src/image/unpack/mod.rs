//! From the bytes of a layer to a directory: sha256 → inflate → sha256 → extraction, in one pass.
//!
//! ```text
//! socket ──(tokio)──▶ [pieces] ──▶ thread: digest, kept bytes ──▶ [pieces] ──▶ thread: inflate
//!                                                                                   │
//!                                        thread: diff id, tar, files ◀── [buffers] ─┘
//! ```
//! All channels are bounded, so that a slow disk slows the socket instead of filling memory. The threads are confined to
//! what they do ([`sys::confine`]): a flaw in one of the parsers would reach the directory of the layer and little else.

mod attributes;
mod confine;
mod content;
mod error;
mod extract;
mod gzip;
mod header;
mod hollow;
mod implied;
mod inflate;
mod intake;
mod limits;
mod outline;
mod pax;
mod pieces;
mod pipeline;
mod place;
mod sparse;
mod spool;
mod tar;
mod tree;
mod walk;
mod whiteout;
mod zstd;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testtar;

pub use error::{TarError, UnpackError};
pub(crate) use hollow::hollow;
pub(crate) use implied::{Paths, Reading, order};
pub(crate) use limits::Limits;
pub(crate) use outline::{FEW, Outline, Part};
pub(crate) use pieces::Piece;
pub(crate) use pipeline::{Finished, Job, start};
pub(crate) use spool::{is_archive, spool};

/// Writes the outline of no archive, with those paths behind it.
#[cfg(test)]
pub(crate) fn outline_of(file: std::fs::File, paths: &Paths) -> std::io::Result<()> {
    outline::Recorder::new(file)?.finish(paths)
}

/// Reads an uncompressed layer from front to back, contents and all, without writing anything.
pub(crate) fn read_through(bytes: &[u8]) {
    let mut archive = tar::Archive::new(bytes);
    while let Ok(Some(entry)) = archive.next() {
        let _ = tree::clean(&entry.path).map(|path| tree::split(&path).1.len());
    }
}

/// Inflates a compressed layer as it comes in, by pieces of so many bytes; not more than a limit of it. The inflated
/// bytes, and whether they are all.
pub(crate) fn inflate(bytes: &[u8], piece: usize, limit: u64) -> (Vec<u8>, std::io::Result<()>) {
    let mut content = Vec::new();
    let input = std::io::BufReader::with_capacity(piece, bytes);
    let outcome =
        std::io::Read::read_to_end(&mut std::io::Read::take(gzip::Gzip::new(input), limit), &mut content);
    (content, outcome.map(drop))
}

/// What a layer became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of file content, in whole blocks of 4 KiB.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Whether the archive cannot be made again of the files: an entry replaced an earlier one, or a file has holes.
    pub lossy: bool,
    /// Directories that no entry describes: they had to be made for what is in them.
    pub implied: Paths,
}
