//! A socket over which two sides call each other.

use crate::trunk;
use crate::ttrpc::{self, Malformed, Request, Response, Status, code};
use prost::Message as _;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// Messages that wait to be written.
const OUTGOING: usize = 16;
/// Calls of a plugin that wait to be answered.
pub(crate) const INCOMING: usize = 256;
/// Bytes that each may have on an average: one of them may be as long as a message can be.
const SHARE: usize = ttrpc::LIMIT / INCOMING;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CallError {
    /// The other side's own error.
    #[error("{message}")]
    Status {
        /// One of [`code`].
        code: i32,
        /// Its words.
        message: String,
    },
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection is gone.
    #[error("{0}")]
    Closed(String),
    /// The answer makes no sense.
    #[error("the answer makes no sense: {0}")]
    Malformed(String),
    /// What is to be asked is too long for a message.
    #[error("a request of {0} bytes, where {LIMIT} is the most", LIMIT = ttrpc::LIMIT)]
    Oversized(usize),
}

/// A call of the other side.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) stream: u32,
    pub(crate) request: Request,
    /// Its place among those that wait; to be kept until it is answered.
    pub(crate) room: OwnedSemaphorePermit,
}

/// One side of a socket; copies share it. It ends when either side closes it, or breaks the protocol.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    /// The connections on which this side calls, and answers.
    calls: u32,
    answers: u32,
    limit: AtomicUsize,
    /// Messages for which there was no room in the socket.
    out: mpsc::Sender<Vec<u8>>,
    /// Bytes that calls which wait may have yet.
    room: Arc<Semaphore>,
    pending: Mutex<Pending>,
    ended: watch::Sender<Option<String>>,
}

struct Pending {
    next: u32,
    waiting: HashMap<u32, oneshot::Sender<ttrpc::Message>>,
    /// Until the end.
    output: Option<Arc<OwnedWriteHalf>>,
    /// Messages that the writer has not written yet; others queue behind them.
    behind: usize,
}

impl Pending {
    /// Writes what the socket takes at once, so that nobody needs to be woken for it; the writer gets the rest.
    fn write(&mut self, place: mpsc::Permit<'_, Vec<u8>>, mut message: Vec<u8>) {
        let at_once = if self.behind == 0 { self.output.as_ref() } else { None };
        // An error is the writer's to tell, who meets it, too.
        let written = at_once.and_then(|output| output.try_write(&message).ok()).unwrap_or_default();
        if written < message.len() {
            self.behind += 1;
            place.send(message.split_off(written));
        }
    }
}

/// A call that waits; it is forgotten with this.
struct Waiting<'a> {
    shared: &'a Shared,
    stream: u32,
    answer: oneshot::Receiver<ttrpc::Message>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.pending().waiting.remove(&self.stream);
    }
}

impl Link {
    /// Takes a socket over. Messages of the other side may have `limit` bytes, until that is [changed](Self::set_limit);
    /// of its calls so many may wait.
    pub(crate) fn new(
        socket: UnixStream,
        (calls, answers): (u32, u32),
        (limit, waiting): (usize, usize),
    ) -> (Self, mpsc::Receiver<Incoming>) {
        let (out, outgoing) = mpsc::channel(OUTGOING);
        let (incoming, requests) = mpsc::channel(waiting);
        let (limit, ended) = (AtomicUsize::new(limit), watch::Sender::new(None));
        let room = Arc::new(Semaphore::new(waiting * SHARE));
        let (input, output) = socket.into_split();
        let output = Arc::new(output);
        let pending =
            Pending { next: 0, waiting: HashMap::new(), output: Some(Arc::clone(&output)), behind: 0 };
        let pending = Mutex::new(pending);
        let shared = Arc::new(Shared { calls, answers, limit, out, room, pending, ended });
        tokio::spawn(read(Arc::clone(&shared), input, incoming));
        tokio::spawn(write(Arc::clone(&shared), output, outgoing));
        (Self(shared), requests)
    }

    /// What a message of the other side may have from now on.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Asks the other side.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn call(
        &self,
        (service, method): (&str, &str),
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let timeout_nano = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        let (service, method) = (service.to_owned(), method.to_owned());
        let request = Request { service, method, payload, timeout_nano }.encode_to_vec();
        if request.len() > ttrpc::LIMIT {
            return Err(CallError::Oversized(request.len()));
        }
        let exchange = async {
            let place = self.0.out.reserve().await.map_err(|_| self.closed())?;
            let mut waiting = self.send(place, &request)?;
            (&mut waiting.answer).await.map_err(|_| self.closed())
        };
        let answer = timeout(limit, exchange).await.map_err(|_| CallError::Timeout(limit))??;
        let response = answer.response().map_err(|error| CallError::Malformed(error.to_string()))?;
        match response.status {
            Some(Status { code, message }) if code != code::OK => Err(CallError::Status { code, message }),
            _ => Ok(response.payload),
        }
    }

    /// Numbers a request and lets it go in one step: the other side takes no stream that is below one it has seen.
    fn send(&self, place: mpsc::Permit<'_, Vec<u8>>, request: &[u8]) -> Result<Waiting<'_>, CallError> {
        let (sender, answer) = oneshot::channel();
        let mut pending = self.0.pending();
        if self.is_ended() {
            return Err(self.closed());
        }
        let stream = pending.next | 1;
        pending.next = stream.wrapping_add(2);
        pending.waiting.insert(stream, sender);
        pending.write(place, trunk::message(self.0.calls, stream, ttrpc::REQUEST, request));
        Ok(Waiting { shared: &self.0, stream, answer })
    }

    fn closed(&self) -> CallError {
        CallError::Closed(self.0.ended.borrow().clone().unwrap_or_default())
    }

    /// Answers a call of the other side.
    pub(crate) async fn answer(&self, stream: u32, result: Result<Vec<u8>, Status>) {
        let response = self.0.response(stream, result);
        // Who is gone needs no answer.
        if let Ok(place) = self.0.out.reserve().await {
            self.0.pending().write(place, response);
        }
    }

    /// Closes the socket; the first reason is the one that counts.
    pub(crate) fn end(&self, reason: &str) {
        self.0.end(reason);
    }

    /// Whether it has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.0.ended.borrow().is_some()
    }

    /// Waits for its end, and says why it came.
    pub(crate) async fn ended(&self) -> String {
        let mut ended = self.0.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, reason: &str) {
        let mut pending = self.pending();
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            if is_first {
                *ended = Some(reason.to_owned());
            }
            is_first
        });
        pending.waiting.clear();
        pending.output = None;
    }

    fn response(&self, stream: u32, result: Result<Vec<u8>, Status>) -> Vec<u8> {
        let response = match result {
            Ok(payload) => Response { status: None, payload },
            Err(status) => Response { status: Some(status), payload: Vec::new() },
        };
        trunk::message(self.answers, stream, ttrpc::RESPONSE, &response.encode_to_vec())
    }

    /// Takes one message. Who asks faster than he is answered is told so, and who does not even read that is let go.
    fn take(
        &self,
        connection: u32,
        message: ttrpc::Message,
        incoming: &mpsc::Sender<Incoming>,
    ) -> Result<(), String> {
        if connection == self.calls {
            // One that nobody waits for is late.
            if let Some(waiting) = self.pending().waiting.remove(&message.stream) {
                let _ = waiting.send(message);
            }
            return Ok(());
        }
        let (stream, request) = (message.stream, message.request().map_err(|error| error.to_string())?);
        let length = u32::try_from(request.payload.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(length).ok();
        let taken = room.is_some_and(|room| incoming.try_send(Incoming { stream, request, room }).is_ok());
        if !taken {
            let message = "too many requests at once".to_owned();
            let full = Err(Status { code: code::RESOURCE_EXHAUSTED, message });
            let place = self.out.try_reserve().map_err(|_| "it asks and does not read")?;
            self.pending().write(place, self.response(stream, full));
        }
        Ok(())
    }
}

async fn read(shared: Arc<Shared>, mut input: OwnedReadHalf, incoming: mpsc::Sender<Incoming>) {
    let mut ended = shared.ended.subscribe();
    let mut decoders = Decoders::default();
    let mut buffer = vec![0; CHUNK];
    let reason = loop {
        let got = tokio::select! {
            got = input.read(&mut buffer) => got,
            _ = ended.wait_for(Option::is_some) => return,
        };
        let fed = match got {
            Ok(0) => break "the connection was closed".to_owned(),
            Ok(length) => decoders.feed(&buffer[..length], &shared, &incoming),
            Err(error) => break format!("the connection broke: {error}"),
        };
        if let Err(reason) = fed {
            break reason;
        }
    };
    shared.end(&reason);
}

#[derive(Default)]
struct Decoders {
    frames: trunk::Decoder,
    answers: ttrpc::Decoder,
    calls: ttrpc::Decoder,
}

impl Decoders {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        shared: &Shared,
        incoming: &mpsc::Sender<Incoming>,
    ) -> Result<(), String> {
        let malformed = |error: Malformed| error.to_string();
        while let Some((connection, mut piece)) =
            self.frames.next(&mut bytes).map_err(|error| error.to_string())?
        {
            let messages = match connection {
                connection if connection == shared.calls => &mut self.answers,
                connection if connection == shared.answers => &mut self.calls,
                _ => continue,
            };
            let limit = shared.limit.load(Ordering::Relaxed);
            while let Some(message) = messages.next(&mut piece, limit).map_err(malformed)? {
                shared.take(connection, message, incoming)?;
            }
        }
        Ok(())
    }
}

/// Writes what the socket had no room for.
async fn write(shared: Arc<Shared>, output: Arc<OwnedWriteHalf>, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    let mut ended = shared.ended.subscribe();
    let writing = async {
        while let Some(bytes) = outgoing.recv().await {
            if let Err(error) = write_all(&output, &bytes).await {
                return error;
            }
            shared.pending().behind -= 1;
        }
        io::ErrorKind::BrokenPipe.into()
    };
    tokio::select! {
        error = writing => shared.end(&format!("the connection broke: {error}")),
        _ = ended.wait_for(Option::is_some) => {}
    }
}

async fn write_all(output: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        output.writable().await?;
        match output.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// ttrpc's servers refuse a stream whose number is not above those before it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn calls_side_by_side_go_out_in_the_order_of_their_numbers() {
        const CALLS: usize = 5000;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (link, _requests) = Link::new(ours, (1, 2), (ttrpc::LIMIT, INCOMING));
        for _ in 0..CALLS {
            let link = link.clone();
            tokio::spawn(async move { link.call(("s", "m"), vec![0; 64], Duration::from_secs(60)).await });
        }
        let (mut frames, mut messages) = (trunk::Decoder::default(), ttrpc::Decoder::default());
        let (mut streams, mut buffer) = (Vec::new(), vec![0; CHUNK]);
        while streams.len() < CALLS {
            let length = theirs.read(&mut buffer).await.unwrap();
            let mut bytes = &buffer[..length];
            while let Some((_, mut piece)) = frames.next(&mut bytes).unwrap() {
                while let Some(message) = messages.next(&mut piece, ttrpc::LIMIT).unwrap() {
                    streams.push(message.stream);
                }
            }
        }
        assert!(streams.windows(2).all(|pair| pair[0] < pair[1]), "out of order");
        link.end("enough");
    }
}
