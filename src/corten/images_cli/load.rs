//! An archive as the daemon takes it: a file, stdin, or a directory that is archived on the way.

use crate::error::Error;
use hyper::body::Bytes;
use image::Loaded;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;
/// Bytes that tell how a file is packed.
const MAGIC: usize = 6;

/// Opens the archive and reads it on a thread of its own.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(archive: &Path) -> Result<Receiver<io::Result<Bytes>>, Error> {
    let failed = |source| Error::Archive { path: archive.to_owned(), source };
    let (sender, receiver) = channel(4);
    if archive == Path::new("-") {
        std::thread::spawn(move || send(io::stdin().lock(), &sender));
    } else if archive.is_dir() {
        let directory = archive.to_owned();
        std::thread::spawn(move || {
            let mut builder = tar::Builder::new(Pieces { sender: sender.clone() });
            builder.follow_symlinks(false);
            let done = builder.append_dir_all("", &directory).and_then(|()| builder.finish());
            if let Err(error) = done {
                // Where the daemon refused before the end, it says why.
                let _ = sender.blocking_send(Err(error));
            }
        });
    } else {
        let mut file = File::open(archive).map_err(failed)?;
        if file.metadata().is_ok_and(|found| found.is_file()) {
            let mut begin = Vec::new();
            (&mut file).take(MAGIC as u64).read_to_end(&mut begin).map_err(failed)?;
            file.rewind().map_err(failed)?;
            refuse(archive, &begin)?;
        }
        std::thread::spawn(move || send(file, &sender));
    }
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
fn refuse(archive: &Path, begin: &[u8]) -> Result<(), Error> {
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

/// Sends what is written.
struct Pieces {
    sender: Sender<io::Result<Bytes>>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
