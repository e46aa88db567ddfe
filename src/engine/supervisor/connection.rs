//! The daemon's end of a pod's shim: one connection, many requests in flight, exits as they come.

use super::error::SupervisorError;
use super::request::{Ask, Greet, Greeting};
use super::{Notice, Notify};
use crate::objects::lock;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use wire::feature::Features;
use wire::frame::{Body, Frame, FrameDecoder};
use wire::msg::{Event, Reply};

/// An answer and the descriptors that came with it.
type Passed = (Reply, Vec<OwnedFd>);

/// Who waits for which answer; `None` once the connection is closed.
type Pending = Mutex<Option<HashMap<u64, oneshot::Sender<Passed>>>>;

/// A connection to a shim.
pub(super) struct Connection {
    pod: String,
    writer: tokio::sync::Mutex<Writer>,
    pending: Arc<Pending>,
    next: AtomicU64,
    /// What the shim can do, as it said in its greeting.
    features: OnceLock<Features>,
}

/// A shim that has answered the first question.
pub(super) struct Greeted {
    stream: std::os::unix::net::UnixStream,
    decoder: FrameDecoder,
    pub(super) greeting: Greeting,
}

impl Greeted {
    /// Asks the first question; blocks until it is answered. For a thread that has nothing else to do: while a pod is
    /// made, that is sooner than it takes until a worker of the runtime looks at a new socket.
    pub(super) fn new(
        pod: &str,
        mut stream: std::os::unix::net::UnixStream,
        limit: Duration,
    ) -> Result<Self, SupervisorError> {
        let subject = || pod.to_owned();
        let gone = || SupervisorError::Gone { pod: subject(), verb: Greet::VERB, subject: subject() };
        let (limits, mut decoder) = ((stream.set_read_timeout(Some(limit))), FrameDecoder::new());
        limits.map_err(|_| gone())?;
        stream.write_all(&wire::frame::request(0, &Greet.request())).map_err(|_| gone())?;
        let mut buffer = [0; 1024];
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame { body: Body::Reply(reply), .. })) => {
                    let wrong = || SupervisorError::WrongReply {
                        pod: subject(),
                        verb: Greet::VERB,
                        subject: subject(),
                    };
                    let greeting = served(pod, Greet::answer(reply, Vec::new()).ok_or_else(wrong)?)?;
                    return Ok(Self { stream, decoder, greeting });
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return Err(gone()),
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Err(gone()),
                Ok(count) => decoder.push(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let seconds = limit.as_secs();
                    let (pod, subject) = (subject(), subject());
                    return Err(SupervisorError::Silent { pod, verb: Greet::VERB, subject, seconds });
                }
                Err(_) => return Err(gone()),
            }
        }
    }
}

/// A greeting in a version of the protocol that is spoken.
fn served(pod: &str, greeting: Greeting) -> Result<Greeting, SupervisorError> {
    if (wire::OLDEST..=wire::VERSION).contains(&greeting.version) {
        return Ok(greeting);
    }
    Err(SupervisorError::Foreign { pod: pod.to_owned(), version: greeting.version })
}

impl Connection {
    /// A connection on which the first question is yet to be asked, by [`Connection::greet`].
    pub(super) fn new(pod: &str, stream: UnixStream, notify: Notify) -> Self {
        Self::with(pod, stream, FrameDecoder::new(), notify)
    }

    /// One on which it was.
    pub(super) fn greeted(pod: &str, greeted: Greeted, notify: Notify) -> io::Result<(Self, Greeting)> {
        let Greeted { stream, decoder, greeting } = greeted;
        stream.set_nonblocking(true)?;
        let connection = Self::with(pod, UnixStream::from_std(stream)?, decoder, notify);
        let _ = connection.features.set(greeting.features);
        Ok((connection, greeting))
    }

    fn with(pod: &str, stream: UnixStream, decoder: FrameDecoder, notify: Notify) -> Self {
        let (reader, socket) = stream.into_split();
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(read(reader, decoder, pending.clone(), notify));
        Self {
            pod: pod.to_owned(),
            writer: tokio::sync::Mutex::new(Writer { socket, frame: Vec::new(), written: 0 }),
            pending,
            next: AtomicU64::new(1),
            features: OnceLock::new(),
        }
    }

    pub(super) fn pod(&self) -> &str {
        &self.pod
    }

    /// Nothing can be asked any more.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.pending).is_none()
    }

    /// The first question on a connection: events flow once it is answered.
    pub(super) async fn greet(&self, limit: Duration) -> Result<Greeting, SupervisorError> {
        let greeting = served(&self.pod, self.ask_within(limit, &self.pod, Greet).await?)?;
        // Its features do not change: a second greeting says the same.
        let _ = self.features.set(greeting.features);
        Ok(greeting)
    }

    /// Asks and waits for the answer. Whoever gives up takes nothing back: the request is carried out.
    pub(super) async fn ask<A: Ask>(&self, subject: &str, ask: A) -> Result<A::Answer, SupervisorError> {
        let (pod, verb) = (|| self.pod.clone(), A::VERB);
        let request = ask.request();
        let lacking = request.needs().without(self.features.get().copied().unwrap_or_default());
        if !lacking.is_empty() {
            return Err(SupervisorError::Old { verb, subject: subject.to_owned(), lacking });
        }
        let gone = || SupervisorError::Gone { pod: pod(), verb, subject: subject.to_owned() };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = wire::frame::request(number, &request);
        if frame.len() > wire::REQUEST_LIMIT {
            return Err(SupervisorError::TooLong { length: frame.len(), limit: wire::REQUEST_LIMIT });
        }
        let answered = self.send(number, frame).await.ok_or_else(gone)?;
        let answer = answered.await.map_err(|_| gone())?;
        failpoint::pass!("engine.frame.answered");
        match answer {
            (Reply::Error { kind: code, errno, message }, _) => {
                Err(SupervisorError::Refused { verb, subject: subject.to_owned(), code, errno, message })
            }
            (reply, passed) => A::answer(reply, passed).ok_or_else(|| SupervisorError::WrongReply {
                pod: pod(),
                verb,
                subject: subject.to_owned(),
            }),
        }
    }

    /// The same for an answer that may take so long.
    pub(super) async fn ask_within<A: Ask>(
        &self,
        limit: Duration,
        subject: &str,
        ask: A,
    ) -> Result<A::Answer, SupervisorError> {
        let answer = tokio::time::timeout(limit, self.ask(subject, ask)).await;
        answer.unwrap_or_else(|_| {
            Err(SupervisorError::Silent {
                pod: self.pod.clone(),
                verb: A::VERB,
                subject: subject.to_owned(),
                seconds: limit.as_secs(),
            })
        })
    }

    /// Sends a frame; `None` when the connection is closed. It is expected from the moment that some of it may be out.
    async fn send(&self, number: u64, frame: Vec<u8>) -> Option<oneshot::Receiver<Passed>> {
        let mut writer = self.writer.lock().await;
        writer.flush().await.ok()?;
        let (answer, answered) = oneshot::channel();
        lock(&self.pending).as_mut()?.insert(number, answer);
        writer.frame = frame;
        writer.flush().await.ok()?;
        failpoint::pass!("engine.frame.sent");
        Some(answered)
    }
}

/// The sending half. What an asker who gave up has left of a frame goes out before the next one.
struct Writer {
    socket: OwnedWriteHalf,
    frame: Vec<u8>,
    written: usize,
}

impl Writer {
    async fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.frame.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
        }
        (self.frame, self.written) = (Vec::new(), 0);
        Ok(())
    }
}

async fn read(stream: OwnedReadHalf, mut decoder: FrameDecoder, pending: Arc<Pending>, notify: Notify) {
    let mut buffer = vec![0; 4096];
    let mut passed = VecDeque::new();
    loop {
        let received = stream.as_ref().async_io(Interest::READABLE, || {
            sys::socket::read(stream.as_ref().as_fd(), &mut buffer, &mut passed)
                .map_err(|error| io::Error::from_raw_os_error(error.errno))
        });
        match received.await {
            Ok(0) | Err(_) => break,
            Ok(count) => decoder.push(buffer.get(..count).unwrap_or_default()),
        }
        if !take(&mut decoder, &mut passed, &pending, &notify) {
            break;
        }
    }
    drop(lock(&pending).take());
    notify(Notice::Lost);
}

/// Hands out every whole frame; whether the stream can be gone on with.
fn take(
    decoder: &mut FrameDecoder,
    passed: &mut VecDeque<OwnedFd>,
    pending: &Pending,
    notify: &Notify,
) -> bool {
    loop {
        match decoder.next_frame() {
            Ok(Some(Frame { id, body: Body::Reply(reply) })) => {
                let count = match &reply {
                    Reply::Opened { descriptors, .. } => *descriptors as usize,
                    _ => 0,
                };
                let descriptors = passed.drain(..count.min(passed.len())).collect();
                let waiter = lock(pending).as_mut().and_then(|pending| pending.remove(&id));
                if let Some(waiter) = waiter {
                    // The asker may have hung up; the shim's work stands all the same.
                    let _ = waiter.send((reply, descriptors));
                }
            }
            Ok(Some(Frame { body: Body::Event(Event::Exited(record)), .. })) => {
                notify(Notice::Exited(record));
            }
            Ok(Some(Frame { body: Body::Request(_), .. })) => {
                tracing::error!("a shim sent a request, which only the daemon does");
                return false;
            }
            Ok(None) => return true,
            Err(error) => {
                tracing::error!(%error, "a shim sent a frame that cannot be read");
                return false;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::request::{Remove, Start};
    use super::*;
    use wire::msg::{ErrorCode, Request};

    /// A connection, and the shim's end of it.
    fn pair() -> (Connection, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Connection::new("pod", UnixStream::from_std(ours).unwrap(), Box::new(|_| {})), theirs)
    }

    /// A shim that answers every request with the same.
    fn answering(mut theirs: std::os::unix::net::UnixStream, reply: Reply) {
        std::thread::spawn(move || {
            let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
            while let Ok(count @ 1..) = theirs.read(&mut buffer) {
                decoder.push(&buffer[..count]);
                while let Ok(Some(frame)) = decoder.next_frame() {
                    theirs.write_all(&wire::frame::reply(frame.id, &reply)).unwrap();
                }
            }
        });
    }

    #[tokio::test]
    async fn an_answer_of_another_kind_is_an_error_with_verb_and_subject() {
        let (connection, theirs) = pair();
        answering(theirs, Reply::Ok);
        assert!(connection.ask("c1", Remove("c1".into())).await.is_ok());
        let error = connection.ask("c1", Start("c1".into())).await.err().unwrap();
        assert!(matches!(error, SupervisorError::WrongReply { .. }), "{error}");
        assert!(error.to_string().ends_with("start container c1"), "{error}");
    }

    #[tokio::test]
    async fn what_a_shim_refuses_it_says_itself() {
        let (connection, theirs) = pair();
        let reply = Reply::Error { kind: ErrorCode::Exec, errno: 2, message: "no such file".into() };
        answering(theirs, reply);
        let error = connection.ask("c1", Start("c1".into())).await.err().unwrap();
        assert_eq!(error.to_string(), "start container c1: no such file");
        assert_eq!(error.command_exit_code(), Some(127));
    }

    #[test]
    fn the_first_answer_of_a_shim_that_was_started_is_looked_at() {
        let greet = |end: &dyn Fn(std::os::unix::net::UnixStream)| {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            end(theirs);
            Greeted::new("p1", ours, Duration::from_millis(50)).map(|greeted| greeted.greeting.version)
        };
        let says = |version| {
            let containers = Vec::new();
            let features = Features::default();
            let hello =
                Reply::Hello { version, pid: 7, sandbox_ready: false, containers, pause_pid: None, features };
            greet(&move |theirs| answering(theirs, hello.clone()))
        };
        assert_eq!(says(wire::VERSION).unwrap(), wire::VERSION);
        let foreign = says(wire::VERSION + 1).unwrap_err();
        assert!(matches!(foreign, SupervisorError::Foreign { .. }), "{foreign}");
        let wrong = greet(&|theirs| answering(theirs, Reply::Ok)).unwrap_err();
        assert!(matches!(wrong, SupervisorError::WrongReply { .. }), "{wrong}");
        assert!(matches!(greet(&drop).unwrap_err(), SupervisorError::Gone { .. }));
        let silent = greet(&std::mem::forget).unwrap_err();
        assert!(matches!(silent, SupervisorError::Silent { .. }), "{silent}");
    }

    #[tokio::test]
    async fn one_that_hangs_up_is_gone_and_one_that_hangs_is_silent() {
        let (connection, theirs) = pair();
        let asked = connection.ask_within(Duration::from_millis(20), "c1", Start("c1".into())).await;
        assert!(matches!(asked, Err(SupervisorError::Silent { .. })));
        assert!(!connection.is_closed());
        drop(theirs);
        let asked = connection.ask("c1", Start("c1".into())).await;
        assert!(matches!(asked, Err(SupervisorError::Gone { .. })));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_half_sent_spoils_no_other() {
        let (connection, mut theirs) = pair();
        // More than the socket takes while nobody reads.
        let long = "x".repeat(8 << 20);
        let asked = connection.ask_within(Duration::from_millis(50), "long", Remove(long.clone())).await;
        assert!(matches!(asked, Err(SupervisorError::Silent { .. })));
        let reader = std::thread::spawn(move || {
            let (mut decoder, mut buffer) = (FrameDecoder::new(), vec![0; 1 << 16]);
            let mut seen = Vec::new();
            while seen.len() < 2 {
                let count = theirs.read(&mut buffer).unwrap();
                decoder.push(&buffer[..count]);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    theirs.write_all(&wire::frame::reply(frame.id, &Reply::Ok)).unwrap();
                    seen.push(frame.body);
                }
            }
            seen
        });
        assert!(connection.ask("c1", Remove("c1".into())).await.is_ok());
        let remove = |id: String| Body::Request(Request::Remove { id });
        assert!(reader.join().unwrap() == [remove(long), remove("c1".into())]);
    }
}
