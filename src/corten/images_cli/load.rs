//! An archive as the daemon takes it: a file, stdin, or a directory that is archived on the way.

use super::archive::Reader;
use crate::error::Error;
use hyper::body::Bytes;
use image::Loaded;
use std::io::{self, Read, Write as _};
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;

/// Opens the archive and reads it beside the caller.
///
/// # Errors
/// When it cannot be opened.
pub(super) async fn open(archive: &Path) -> Result<Receiver<io::Result<Bytes>>, Error> {
    let (sender, receiver) = channel(4);
    if archive == Path::new("-") {
        std::thread::spawn(move || send(io::stdin().lock(), &sender));
        return Ok(receiver);
    }
    let mut reader = Reader::open(archive).await?;
    tokio::spawn(async move {
        loop {
            let piece = reader.next(PIECE).await.map(Bytes::from);
            let is_last = piece.as_ref().map_or(true, Bytes::is_empty);
            let is_end = matches!(&piece, Ok(piece) if piece.is_empty());
            // Where the daemon refused before the end, it says why.
            if is_end || sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Says which images can be found by their ids alone: many tools write a tag without a repository.
pub(super) fn nameless(loaded: &Loaded) {
    for image in loaded.images.iter().filter(|image| image.names.is_empty()) {
        let note = format!(
            "corten: {} has no name: the archive has none for it, or a tag alone; load it again with --name to give \
             it one\n",
            image.id
        );
        // Nobody may be listening.
        let _ = io::stderr().write_all(note.as_bytes());
    }
}

/// Refuses what is known to be packed in another way than the daemon unpacks: it could only say that it is no archive.
pub(super) fn refuse(archive: &Path, begin: &[u8]) -> Result<(), Error> {
    let known: [(&[u8], &str, &str); 4] = [
        (b"\xfd7zXZ\0", "xz", "xz -d"),
        (b"BZh", "bzip2", "bzip2 -d"),
        (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
        (b"PK\x03\x04", "zip", "unzip"),
    ];
    match known.iter().find(|(magic, ..)| begin.starts_with(magic)) {
        None => Ok(()),
        Some((_, packing, program)) => Err(Error::Packing { path: archive.to_owned(), packing, program }),
    }
}

fn send(mut from: impl Read, sender: &Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let read = from.read(&mut piece).map(|count| {
            piece.truncate(count);
            Bytes::from(piece)
        });
        let last = read.as_ref().map_or(true, Bytes::is_empty);
        let end = matches!(&read, Ok(piece) if piece.is_empty());
        if end || sender.blocking_send(read).is_err() || last {
            return;
        }
    }
}
