//! The three threads of a layer, and the one that holds its directory.

use super::confine;
use super::error::UnpackError;
use super::extract::Extractor;
use super::inflate::{self, BUFFERS};
use super::intake::{self, Expected};
use super::outline::Recorder;
use super::pieces::{Checked, Chunk, Compressed, Inflated, Piece};
use super::tar::Archive;
use super::{Limits, Unpacked};
use crate::digest::{Digest, Hasher};
use crate::manifest::Descriptor;
use crate::store::{Growing, IngestDir, IngestFile, Kept};
use std::sync::{Arc, mpsc};
use std::thread::Builder;
use tokio::sync::oneshot;

/// Pieces between the socket and the first thread, and between that and the inflating one; each is at most what one
/// read gave.
const PIECES: usize = 16;
const CHECKED: usize = 8;

/// A layer to unpack.
pub(crate) struct Job {
    pub layer: Descriptor,
    pub diff_id: Digest,
    /// An empty directory; removed again unless all goes well.
    pub directory: IngestDir,
    /// An empty file, for the archive's outline.
    pub outline: IngestFile,
    /// Where the compressed bytes are kept as well.
    pub keep: Option<Kept>,
    pub limits: Limits,
    /// Told how much there is so far.
    pub growing: Arc<Growing>,
}

/// A pipeline that waits for its input.
pub(crate) struct Running {
    input: tokio::sync::mpsc::Sender<Piece>,
    checked: oneshot::Receiver<Result<(), UnpackError>>,
    inflated: oneshot::Receiver<Result<(), UnpackError>>,
    extracted: oneshot::Receiver<Result<Finished, UnpackError>>,
}

/// A layer that is all there and has the right digests.
pub(crate) struct Finished {
    pub directory: IngestDir,
    pub outline: IngestFile,
    pub unpacked: Unpacked,
}

/// Starts the threads.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(job: Job) -> Result<Running, UnpackError> {
    let (input, pieces) = tokio::sync::mpsc::channel(PIECES);
    let (pieces_in, pieces_out) = mpsc::sync_channel::<Checked>(CHECKED);
    let (chunks_in, chunks_out) = mpsc::sync_channel::<Chunk>(BUFFERS);
    let (buffers_in, buffers_out) = mpsc::channel();
    let (checked_in, checked) = oneshot::channel();
    let (inflated_in, inflated) = oneshot::channel();
    let (extracted_in, extracted) = oneshot::channel();
    let expected = Expected { digest: job.layer.digest.clone(), size: job.layer.size };
    let keep = job.keep;
    spawn("layer-intake", move || {
        confine::to_computing();
        let result = intake::run(pieces, &pieces_in, keep, &expected);
        // Whoever asked may be gone; then the files go too.
        let _ = checked_in.send(result);
    })?;
    let limit = job.limits.bytes;
    spawn("layer-inflate", move || {
        confine::to_computing();
        let input = Compressed::new(pieces_out);
        let result = inflate::run(input, &chunks_in, &buffers_out, limit);
        let _ = inflated_in.send(result);
    })?;
    let (directory, outline) = (job.directory, job.outline);
    let extraction = Extraction {
        plain: job.layer.digest,
        diff_id: job.diff_id,
        limits: job.limits,
        growing: job.growing,
    };
    // The one that is confined to the directory could not remove it, which has to be done where nobody waits any more.
    spawn("layer", move || {
        let source = Inflated::new(chunks_out, buffers_in);
        let result = std::thread::scope(|scope| {
            let extract = || extraction.run(&directory, &outline, source);
            thread("layer-extract")
                .spawn_scoped(scope, extract)
                .map_err(no_thread("layer-extract"))?
                .join()
                .unwrap_or(Err(UnpackError::Aborted))
        });
        let _ = extracted_in.send(result.map(|unpacked| Finished { directory, outline, unpacked }));
    })?;
    Ok(Running { input, checked, inflated, extracted })
}

impl Running {
    /// Where the socket's side puts the pieces.
    pub(crate) fn input(&self) -> tokio::sync::mpsc::Sender<Piece> {
        self.input.clone()
    }

    /// Waits for the threads. `complete` tells whether all bytes came: only then do they end well.
    pub(crate) async fn finish(self, complete: bool) -> Result<Finished, UnpackError> {
        if complete {
            let _ = self.input.send(Piece::End).await;
        }
        drop(self.input);
        let checked = self.checked.await.unwrap_or(Err(UnpackError::Aborted));
        let inflated = self.inflated.await.unwrap_or(Err(UnpackError::Aborted));
        let extracted = self.extracted.await.unwrap_or(Err(UnpackError::Aborted));
        // One side's failure makes the others give up: the real one is told.
        for result in [checked, inflated] {
            match result {
                Ok(()) | Err(UnpackError::Aborted) => {}
                Err(error) => return Err(error),
            }
        }
        extracted
    }
}

fn thread(name: &'static str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(512 << 10)
}

fn no_thread(name: &'static str) -> impl FnOnce(std::io::Error) -> UnpackError {
    move |source| UnpackError::Io { operation: "start thread", path: name.to_owned(), source }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), UnpackError> {
    thread(name).spawn(work).map(drop).map_err(no_thread(name))
}

/// What the thread that extracts holds the layer against.
struct Extraction {
    /// Plain bytes are their own diff id, which the first thread has checked as the digest.
    plain: Digest,
    diff_id: Digest,
    limits: Limits,
    growing: Arc<Growing>,
}

impl Extraction {
    fn run(
        self,
        directory: &IngestDir,
        outline: &IngestFile,
        source: Inflated,
    ) -> Result<Unpacked, UnpackError> {
        let unwritten = |source| UnpackError::Io { operation: "write", path: "outline".to_owned(), source };
        let unopened = |source| UnpackError::Io { operation: "open", path: "/".to_owned(), source };
        let recorder = outline.handle().and_then(Recorder::new).map_err(unwritten)?;
        let mut archive = Archive::recorded(source, recorder).limited(self.limits.records);
        let mut extractor = Extractor::new(directory.path(), self.limits)?.growing(self.growing);
        confine::to_filling(directory.path(), None).map_err(unopened)?;
        let unpacked = extractor.run(&mut archive);
        let (mut source, mut recorder) = archive.into_inner();
        let unpacked = match unpacked {
            // The stream broke off: the inflating thread knows why.
            Err(UnpackError::Tar(super::TarError::Read(_)))
                if source.drain(&mut Recorder::default()).is_err() =>
            {
                return Err(UnpackError::Aborted);
            }
            other => other?,
        };
        source.drain(&mut recorder).map_err(|_| UnpackError::Aborted)?;
        let actual = source.hasher.take().map_or(self.plain, Hasher::finish);
        if actual != self.diff_id {
            return Err(UnpackError::DiffId { expected: self.diff_id, actual });
        }
        recorder.finish(&unpacked.implied).map_err(unwritten)?;
        extractor.finish()?;
        Ok(unpacked)
    }
}
