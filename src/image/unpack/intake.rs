//! The thread that takes what comes in: it keeps and hashes the compressed bytes while the next one inflates them.

use super::error::UnpackError;
use super::pieces::{Checked, Piece};
use crate::digest::{Digest, Hasher};
use crate::store::Kept;
use std::sync::mpsc;

/// What the compressed bytes must be.
pub(super) struct Expected {
    pub digest: Digest,
    pub size: u64,
}

/// Hands every piece on, and the end only when all of it had the right size and digest.
pub(super) fn run(
    mut input: tokio::sync::mpsc::Receiver<Piece>,
    output: &mpsc::SyncSender<Checked>,
    mut keep: Option<Kept>,
    expected: &Expected,
) -> Result<(), UnpackError> {
    let (mut hasher, mut count) = (Hasher::default(), 0);
    loop {
        let (bytes, new) = match input.blocking_recv() {
            Some(Piece::Data(bytes)) => (bytes, true),
            Some(Piece::Kept(bytes)) => (bytes, false),
            Some(Piece::End) => break,
            None => return Err(UnpackError::Aborted),
        };
        // First, so that there is something to inflate meanwhile.
        output.send(Checked::Data(bytes.clone())).map_err(|_| UnpackError::Aborted)?;
        count += bytes.len() as u64;
        if let (true, Some(file)) = (new, &mut keep) {
            file.write(&bytes).map_err(|source| UnpackError::Io {
                operation: "write",
                path: "blob".to_owned(),
                source,
            })?;
        }
        hasher.update(&bytes);
    }
    if count != expected.size {
        return Err(UnpackError::Size { expected: expected.size, actual: count });
    }
    let actual = hasher.finish();
    if actual != expected.digest {
        return Err(UnpackError::Digest { actual });
    }
    output.send(Checked::End).map_err(|_| UnpackError::Aborted)
}
