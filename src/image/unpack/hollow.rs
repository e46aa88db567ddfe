//! A layer's tree without the contents of its files: what unpacking makes of an archive, to be compared with.

use super::confine;
use super::error::{TarError, UnpackError};
use super::extract::Extractor;
use super::tar::Archive;
use super::{Limits, Unpacked};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

const BUFFER: usize = 256 << 10;

/// Unpacks the archive into the empty directory, every file as long as it should be and empty, and reads the archive to
/// its end. Blocks, on a thread of its own: unpacking changes the umask, and the thread reaches no files but those in the two
/// directories. `source` is where the reader opens files, if it does.
///
/// # Errors
/// As for any archive.
pub(crate) fn hollow(
    reader: &mut (impl Read + Send),
    directory: &Path,
    source: Option<&Path>,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let work = || {
        let mut archive = Archive::new(BufReader::with_capacity(BUFFER, reader));
        let mut extractor = Extractor::new(directory, limits)?.hollow();
        confine::to_filling(directory, source).map_err(|source| UnpackError::Io {
            operation: "open",
            path: directory.display().to_string(),
            source,
        })?;
        let unpacked = extractor.run(&mut archive)?;
        let (mut rest, _) = archive.into_inner();
        loop {
            let count = rest.fill_buf().map_err(TarError::from)?.len();
            if count == 0 {
                break;
            }
            rest.consume(count);
        }
        extractor.finish()?;
        Ok(unpacked)
    };
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or(Err(UnpackError::Aborted))
}
