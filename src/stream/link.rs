//! An upgraded connection from the inside: frames go out through one queue, what comes in is handed to the streams that
//! it is for. Everything is bounded; who is too slow makes the other side wait.

use crate::spdy::frame;
use crate::ws;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// What is read and written at a time, in bytes.
pub(crate) const PIECE: usize = 32 << 10;
/// Frames that wait to be written.
const QUEUE: usize = 16;
/// Pieces that wait for the reader of a stream.
const PIECES: usize = 8;
/// So many bytes taken from a stream are told to clients that count.
const WINDOW: u32 = 16 << 10;
/// How long a client may take to read the last of what it is sent.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long a client may take to close its side, once everything is said.
const FAREWELL: Duration = Duration::from_secs(5);

/// The client is gone, or its stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has left")]
pub(crate) struct Gone;

/// When something was last said, by either side.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    begin: Instant,
    millis: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self { begin: Instant::now(), millis: Arc::default() }
    }

    fn touch(&self) {
        let millis = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Returns when nothing was said for so long.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let last = self.begin + Duration::from_millis(self.millis.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return;
            }
            sleep_until(last + limit).await;
        }
    }
}

/// The queue of frames.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    frames: mpsc::Sender<Vec<u8>>,
    activity: Activity,
}

impl Outgoing {
    /// Puts a frame into the queue, when there is room.
    pub(crate) async fn send(&self, frame: Vec<u8>) -> Result<(), Gone> {
        self.activity.touch();
        self.frames.send(frame).await.map_err(|_| Gone)
    }
}

/// How the bytes of a stream become frames.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    /// Data frames of a SPDY stream.
    Spdy(u32),
    /// Binary messages that begin with the channel's number.
    Binary(u8),
    /// Text messages that begin with the channel's digit, then base64.
    Text(u8),
}

/// The outgoing side of a stream.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Outgoing,
    format: Format,
    /// The client has given the stream up.
    is_reset: Arc<AtomicBool>,
}

impl Writer {
    /// Of a stream whose reset is told by the flag.
    pub(crate) fn new(out: Outgoing, format: Format, is_reset: Arc<AtomicBool>) -> Self {
        Self { out, format, is_reset }
    }

    /// Sends bytes, as fast as the client reads.
    pub(crate) async fn write(&self, bytes: &[u8]) -> Result<(), Gone> {
        for piece in bytes.chunks(PIECE) {
            if self.is_reset() {
                return Err(Gone);
            }
            self.out.send(self.frame(piece)).await?;
        }
        Ok(())
    }

    /// Sends an empty message, which tells clients of WebSockets that the connection stands.
    pub(crate) async fn greet(&self) -> Result<(), Gone> {
        self.out.send(self.frame(&[])).await
    }

    fn frame(&self, piece: &[u8]) -> Vec<u8> {
        match self.format {
            Format::Spdy(id) => frame::data(id, false, piece),
            Format::Binary(channel) => ws::frame::binary(channel, piece),
            Format::Text(channel) => ws::frame::text(channel, piece),
        }
    }

    /// Whether the client has given the stream up.
    pub(crate) fn is_reset(&self) -> bool {
        self.is_reset.load(Ordering::Relaxed)
    }

    /// Says that nothing more comes, where the protocol can.
    pub(crate) async fn finish(&self) {
        if let Format::Spdy(id) = self.format
            && !self.is_reset()
        {
            // A client that is gone needs not to be told.
            let _ = self.out.send(frame::data(id, true, &[])).await;
        }
    }

    /// Gives the stream up, where the protocol can.
    pub(crate) async fn reset(&self) {
        if let Format::Spdy(id) = self.format
            && !self.is_reset()
        {
            let _ = self.out.send(frame::reset(id, frame::Reset::Cancel)).await;
        }
    }
}

/// The incoming side of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    pieces: mpsc::Receiver<Vec<u8>>,
    /// Whom to tell how much was taken, and how much that was since.
    window: Option<(Outgoing, u32, u32)>,
}

impl Reader {
    /// A stream, and where to put what comes for it.
    pub(crate) fn new(window: Option<(Outgoing, u32)>) -> (mpsc::Sender<Vec<u8>>, Self) {
        let (sender, pieces) = mpsc::channel(PIECES);
        (sender, Self { pieces, window: window.map(|(out, id)| (out, id, 0)) })
    }

    /// The next piece; `None` when the client has closed its side, or is gone.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.recv().await?;
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

/// A connection that is served: dropping it without [`Link::close`] cuts it off.
#[derive(Debug)]
pub(crate) struct Link {
    out: Outgoing,
    gone: CancellationToken,
    closing: CancellationToken,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// What understands the bytes of a protocol.
pub(crate) trait Protocol: Send + 'static {
    /// Takes in bytes, which it may change; an error ends the connection, behind the frames given with it.
    fn take(&mut self, bytes: &mut [u8]) -> impl Future<Output = Result<(), Farewell>> + Send;
    /// The frame that ends the connection from our side.
    fn farewell(&self) -> Vec<u8>;
}

/// How a connection ends before its time.
#[derive(Debug)]
pub(crate) struct Farewell {
    /// Why, for the log.
    pub(crate) reason: String,
    /// The last frame, if there is one for it.
    pub(crate) frame: Option<Vec<u8>>,
}

impl From<Gone> for Farewell {
    fn from(gone: Gone) -> Self {
        Self { reason: gone.to_string(), frame: None }
    }
}

impl Link {
    /// Starts the tasks of a connection.
    pub(crate) fn start<P: Protocol>(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        protocol: impl FnOnce(Outgoing) -> P,
    ) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (frames, queue) = mpsc::channel(QUEUE);
        let out = Outgoing { frames, activity: Activity::new() };
        let (gone, closing) = (CancellationToken::new(), CancellationToken::new());
        let protocol = protocol(out.clone());
        let reader = tokio::spawn(receive(read, protocol, out.clone(), gone.clone(), closing.clone()));
        let writer = tokio::spawn(transmit(write, queue));
        Self { out, gone, closing, reader, writer }
    }

    /// The queue of frames.
    pub(crate) fn out(&self) -> Outgoing {
        self.out.clone()
    }

    /// Returns when the client is gone, or nothing was said for so long.
    pub(crate) async fn lost(&self, idle: Duration) -> &'static str {
        tokio::select! {
            () = self.left() => "the client has left",
            () = self.out.activity.idle(idle) => "nothing was said for too long",
        }
    }

    /// Returns when the client is gone.
    pub(crate) async fn left(&self) {
        self.gone.cancelled().await;
    }

    /// Ends the connection once everything is sent. What still holds a queue of it holds it up.
    pub(crate) async fn close(mut self) {
        self.closing.cancel();
        let Self { out, reader, writer, .. } = &mut self;
        // The last queue but those of streams, which are at their end.
        let (frames, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut out.frames, frames));
        if timeout(LAST_WORDS, &mut *writer).await.is_ok() {
            // A connection that is closed with something unread in it takes back what was sent last.
            let _ = timeout(FAREWELL, &mut *reader).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

async fn receive(
    mut stream: impl AsyncRead + Unpin,
    mut protocol: impl Protocol,
    out: Outgoing,
    gone: CancellationToken,
    closing: CancellationToken,
) {
    let _gone = gone.drop_guard();
    let mut buffer = vec![0; PIECE];
    let farewell = loop {
        let count = tokio::select! {
            count = stream.read(&mut buffer) => count,
            () = closing.cancelled() => break Some(protocol.farewell()),
        };
        let Some(bytes) = count.ok().filter(|count| *count > 0).and_then(|count| buffer.get_mut(..count))
        else {
            return;
        };
        out.activity.touch();
        let taken = tokio::select! {
            taken = protocol.take(bytes) => taken,
            () = closing.cancelled() => break Some(protocol.farewell()),
        };
        if let Err(farewell) = taken {
            tracing::debug!(reason = farewell.reason, "a stream's connection ends");
            break farewell.frame;
        }
    };
    drop(protocol);
    if let Some(frame) = farewell {
        // Nobody needs to hear it who does not read.
        let _ = timeout(FAREWELL, out.send(frame)).await;
    }
    drop(out);
    if !closing.is_cancelled() {
        return;
    }
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

async fn transmit(mut stream: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut work = async || -> io::Result<()> {
        while let Some(frame) = queue.recv().await {
            stream.write_all(&frame).await?;
            if queue.is_empty() {
                stream.flush().await?;
            }
        }
        stream.shutdown().await
    };
    if let Err(error) = work().await {
        tracing::debug!(%error, "a stream's connection breaks");
    }
}
