//! An archive as the daemon takes it: a file, stdin, or a directory that is archived on the way.

use crate::error::Error;
use hyper::body::Bytes;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;

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
        let file = File::open(archive).map_err(failed)?;
        std::thread::spawn(move || send(file, &sender));
    }
    Ok(receiver)
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
