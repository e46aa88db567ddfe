//! The reader of an archive, as a process of its own: a filesystem that has taken a request and does not answer it lets
//! no process go that waits for it, not even when it is killed. So somebody else waits, and the command can end.

use super::load::refuse;
use crate::error::Error;
use cli::image::READ_ARCHIVE;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::channel;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Bytes that tell how a file is packed.
const MAGIC: u64 = 6;
/// Comes before the archive, once it is open.
const OPEN: u8 = b'o';
/// Most bytes of what the reader says of a failure.
const LONGEST: u64 = 64 << 10;

/// A reader that has opened its archive.
pub(super) struct Reader {
    child: Child,
    output: ChildStdout,
    /// It ends with this.
    _held: Option<ChildStdin>,
}

impl Reader {
    /// # Errors
    /// When there can be no reader, and what it says where it cannot open the archive.
    pub(super) async fn open(archive: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Archive { path: archive.to_owned(), source };
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["image", READ_ARCHIVE, "--"])
            .arg(archive)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let held = child.stdin.take();
        let Some(output) = child.stdout.take() else { return Err(failed(io::ErrorKind::BrokenPipe.into())) };
        let mut reader = Self { child, output, _held: held };
        let mut opened = [0];
        match reader.output.read_exact(&mut opened).await {
            Ok(_) => Ok(reader),
            Err(_) => Err(Error::Reader(reader.said().await)),
        }
    }

    /// The next bytes; none at the end of a whole archive.
    ///
    /// # Errors
    /// The archive's.
    pub(super) async fn next(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; most];
        let count = self.output.read(&mut piece).await?;
        piece.truncate(count);
        if count == 0 && !self.child.wait().await?.success() {
            return Err(io::Error::other(self.said().await));
        }
        Ok(piece)
    }

    /// Why it has ended.
    async fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(errors) = &mut self.child.stderr {
            // What is no text says nothing.
            let _ = errors.take(LONGEST).read_to_string(&mut text).await;
        }
        match text.trim().trim_start_matches("corten: ") {
            "" => "the reader of the archive has ended".to_owned(),
            said => said.to_owned(),
        }
    }
}

/// The reader itself: writes the archive to stdout, that of a directory made on the way. It ends when stdin does, which is
/// when whoever wants the archive has gone.
///
/// # Errors
/// The archive's.
pub(super) fn run(archive: &Path) -> Result<(), Error> {
    let (ended, end) = channel();
    let gone = ended.clone();
    std::thread::spawn(move || {
        let mut nothing = [0];
        while io::stdin().read(&mut nothing).is_ok_and(|count| count > 0) {}
        // The reader may be done before.
        let _ = gone.send(None);
    });
    let path = archive.to_owned();
    std::thread::spawn(move || {
        let _ = ended.send(Some(write(&path)));
    });
    end.recv().ok().flatten().unwrap_or(Ok(()))
}

fn write(archive: &Path) -> Result<(), Error> {
    let failed = |source| Error::Archive { path: archive.to_owned(), source };
    let mut output = io::stdout().lock();
    if archive.is_dir() {
        output.write_all(&[OPEN]).map_err(failed)?;
        let mut builder = tar::Builder::new(output);
        builder.follow_symlinks(false);
        builder.append_dir_all("", archive).and_then(|()| builder.finish()).map_err(failed)?;
        return Ok(());
    }
    let mut file = File::open(archive).map_err(failed)?;
    if file.metadata().is_ok_and(|found| found.is_file()) {
        let mut begin = Vec::new();
        (&mut file).take(MAGIC).read_to_end(&mut begin).map_err(failed)?;
        file.rewind().map_err(failed)?;
        refuse(archive, &begin)?;
    }
    output.write_all(&[OPEN]).map_err(failed)?;
    io::copy(&mut file, &mut output).and_then(|_| output.flush()).map_err(failed)
}
