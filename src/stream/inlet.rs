//! What comes in on a stream, from the reader of the connection to whom it is for.

use crate::bounds::Share;
use crate::link::Outgoing;
use crate::spdy::frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// So many bytes taken from a stream are told to clients that count.
const WINDOW: u32 = 16 << 10;
/// More than the socket buffers between us and a program in a pod hold on hosts that tune them (tcp_wmem and tcp_rmem,
/// some 10 MiB by default).
const KERNEL_KEEPS: u64 = 48 << 20;

/// What the two sides of a stream have in common. It counts as a stream of its connection until both are dropped.
#[derive(Debug, Default)]
pub(crate) struct Life {
    reset: CancellationToken,
    _places: Vec<OwnedSemaphorePermit>,
}

impl Life {
    /// Of a stream that takes these places.
    pub(crate) fn new(places: Vec<OwnedSemaphorePermit>) -> Self {
        Self { reset: CancellationToken::new(), _places: places }
    }

    /// The stream is given up.
    pub(crate) fn reset(&self) {
        self.reset.cancel();
    }

    /// Whether it was.
    pub(crate) fn is_reset(&self) -> bool {
        self.reset.is_cancelled()
    }

    /// Returns when it is.
    pub(crate) async fn was_reset(&self) {
        self.reset.cancelled().await;
    }
}

/// What waits to be read.
#[derive(Debug)]
struct Waiting {
    share: Share,
    /// Something was read.
    room: Notify,
    /// How much, since the stream was opened.
    taken: AtomicU64,
}

/// Where the pieces of a stream are put.
#[derive(Debug)]
pub(crate) struct Inlet {
    pieces: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<Waiting>,
}

/// The incoming side of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: Arc<Waiting>,
    /// Whom to tell how much was taken, and how much that was since.
    window: Option<(Outgoing, u32, u32)>,
    _life: Arc<Life>,
}

/// Nobody has read anything of a full stream for as long as was allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

impl Inlet {
    /// The beginning of a stream, and its end.
    pub(crate) fn new(share: Share, window: Option<(Outgoing, u32)>, life: Arc<Life>) -> (Self, Reader) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting { share, room: Notify::new(), taken: AtomicU64::new(0) });
        let window = window.map(|(out, id)| (out, id, 0));
        let reader = Reader { pieces, waiting: waiting.clone(), window, _life: life };
        (Self { pieces: sender, waiting }, reader)
    }

    /// Whether nobody reads it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Whether somebody at the far end has read of it: more was taken than the buffers of a kernel keep.
    pub(crate) fn was_read(&self) -> bool {
        self.waiting.taken.load(Ordering::Relaxed) > KERNEL_KEEPS
    }

    /// Hands a piece on, when there is room for it. A stream that nobody reads any more swallows what still comes.
    ///
    /// # Errors
    /// Nothing was read for the whole of `patience`.
    pub(crate) async fn push(&self, piece: &[u8], patience: Option<Duration>) -> Result<(), Stalled> {
        while !self.is_closed() {
            if self.waiting.share.take(piece.len()) {
                if self.pieces.send(piece.to_vec()).is_err() {
                    self.waiting.share.give(piece.len());
                }
                return Ok(());
            }
            tokio::select! {
                () = self.waiting.room.notified() => {}
                () = self.pieces.closed() => {}
                () = sleep(patience.unwrap_or_default()), if patience.is_some() => return Err(Stalled),
            }
        }
        Ok(())
    }
}

impl Reader {
    /// The next piece; `None` when the client has closed its side, or is gone.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.recv().await?;
        self.waiting.share.give(piece.len());
        self.waiting.taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.waiting.room.notify_one();
        if let Some((out, id, taken)) = &mut self.window {
            *taken = taken.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            if *taken >= WINDOW {
                let frame = frame::window(*id, std::mem::take(taken));
                // The piece is there even when the client is not.
                let _ = out.send(frame).await;
            }
        }
        Some(piece)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pieces.close();
        self.waiting.share.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bounds::Bounds;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_full_stream_stalls_unless_somebody_reads() {
        let bounds = Bounds::default();
        let patience = Some(Duration::from_secs(1));
        let (inlet, mut reader) = Inlet::new(bounds.forwarding().share(), None, Arc::default());
        let piece = vec![0; 32 << 10];
        let mut held = 0;
        while inlet.push(&piece, patience).await.is_ok() {
            held += piece.len();
        }
        assert!(held <= 32 << 20, "{held} bytes");
        let (pushed, _) = tokio::join!(inlet.push(&piece, patience), reader.next());
        assert_eq!(pushed, Ok(()));
        drop(reader);
        assert_eq!(inlet.push(&piece, patience).await, Ok(()), "swallowed");
        // Others have what it gave back.
        let (other, _reader) = Inlet::new(bounds.forwarding().share(), None, Arc::default());
        for _ in 0..held / piece.len() {
            assert_eq!(other.push(&piece, patience).await, Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_stdin_of_a_command_waits_however_long() {
        let (inlet, mut reader) = Inlet::new(Bounds::default().command().share(), None, Arc::default());
        let push = inlet.push(&[0; 8192], None);
        assert!(timeout(Duration::from_secs(1), push).await.is_ok());
        let fill = async { while inlet.push(&[0; 8192], None).await.is_ok() {} };
        assert!(timeout(Duration::from_secs(10_000), fill).await.is_err());
        let mut waiting = 0;
        while let Ok(Some(piece)) = timeout(Duration::from_secs(1), reader.next()).await {
            waiting += piece.len();
        }
        assert!(waiting <= 256 << 10, "{waiting} bytes");
    }
}
