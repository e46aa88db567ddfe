//! An upgraded connection from the inside: frames go out through one queue, what comes in is handed to the streams that
//! it is for. Everything is bounded; who is too slow makes the other side wait.

use crate::bounds::Terms;
use crate::inlet::Life;
use crate::socket::Watch;
use crate::spdy::frame;
use crate::ws;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// What is read and written at a time, in bytes.
pub(crate) const PIECE: usize = 32 << 10;
/// Frames that wait to be written.
const QUEUE: usize = 8;
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
    /// To nobody.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self { frames: mpsc::channel(1).0, activity: Activity::new() }
    }

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
    life: Arc<Life>,
}

impl Writer {
    /// Of a stream.
    pub(crate) fn new(out: Outgoing, format: Format, life: Arc<Life>) -> Self {
        Self { out, format, life }
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
        self.life.is_reset()
    }

    /// Returns when the client has given the stream up.
    pub(crate) async fn was_reset(&self) {
        self.life.was_reset().await;
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

/// What a connection comes with.
#[derive(Debug)]
pub(crate) struct Side {
    /// What tells that the client is gone.
    pub(crate) watch: Watch,
    /// What its streams may have.
    pub(crate) terms: Terms,
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
        watch: Watch,
        protocol: impl FnOnce(Outgoing) -> P,
    ) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (frames, queue) = mpsc::channel(QUEUE);
        let out = Outgoing { frames, activity: Activity::new() };
        let (gone, closing) = (CancellationToken::new(), CancellationToken::new());
        let protocol = protocol(out.clone());
        let ends = Ends { watch, gone: gone.clone(), closing: closing.clone() };
        let reader = tokio::spawn(receive(read, protocol, out.clone(), ends));
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

    /// What tells a connection within this one that the client is gone.
    pub(crate) fn watch(&self) -> Watch {
        Watch::Around(self.gone.clone())
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

/// How the reader of a connection learns of its end, and tells it.
struct Ends {
    watch: Watch,
    gone: CancellationToken,
    closing: CancellationToken,
}

async fn receive(
    mut stream: impl AsyncRead + Unpin,
    mut protocol: impl Protocol,
    out: Outgoing,
    Ends { watch, gone, closing }: Ends,
) {
    let _gone = gone.drop_guard();
    let hung_up = watch.hung_up();
    tokio::pin!(hung_up);
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
            // Nobody takes what was sent, and so nobody reads of the end.
            () = &mut hung_up => {
                tracing::debug!("a client leaves while what it sent waits to be taken");
                return;
            }
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
