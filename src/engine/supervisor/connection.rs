//! The daemon's end of a pod's shim: one connection, many requests in flight, exits as they come.

use super::error::SupervisorError;
use super::greeting::Greeted;
use super::question::Question;
use super::request::{Ask, Greeting};
use super::{Notice, Notify};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sys::sync::lock;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
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
    features: Features,
}

impl Connection {
    /// A connection on which the first question has been answered; what comes unasked goes to `notify` from now on.
    pub(super) fn new(pod: &str, greeted: Greeted<UnixStream>, notify: Notify) -> (Self, Greeting) {
        let Greeted { stream, decoder, greeting } = greeted;
        let (reader, socket) = stream.into_split();
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(read(reader, decoder, pending.clone(), notify));
        let connection = Self {
            pod: pod.to_owned(),
            writer: tokio::sync::Mutex::new(Writer { socket, frame: Vec::new(), written: 0 }),
            pending,
            next: AtomicU64::new(1),
            features: greeting.features,
        };
        (connection, greeting)
    }

    pub(super) fn pod(&self) -> &str {
        &self.pod
    }

    /// Nothing can be asked any more.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.pending).is_none()
    }

    /// Asks and waits for the answer. Whoever gives up takes nothing back: the request is carried out.
    pub(super) async fn ask<A: Ask>(&self, subject: &str, ask: A) -> Result<A::Answer, SupervisorError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.ask_as(number, subject, ask).await
    }

    /// The same for what is taken back, by its number, once it is unwanted. A shim that cannot carries it out.
    pub(super) async fn ask_while_wanted<A: Ask, B: Ask>(
        &self,
        subject: &str,
        ask: A,
        unwanted: &CancellationToken,
        take_back: impl FnOnce(u64) -> B,
    ) -> Result<A::Answer, SupervisorError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut answer = std::pin::pin!(self.ask_as(number, subject, ask));
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = unwanted.cancelled() => {}
        }
        let (answer, taken_back) = tokio::join!(answer, self.ask(subject, take_back(number)));
        if let Err(error) = taken_back {
            tracing::debug!(error = crate::chain(&error), "what nobody waits for goes on");
        }
        answer
    }

    async fn ask_as<A: Ask>(&self, number: u64, subject: &str, ask: A) -> Result<A::Answer, SupervisorError> {
        let (question, request) = (Question::of::<A>(&self.pod, subject), ask.request());
        let lacking = request.needs().without(self.features);
        if !lacking.is_empty() {
            return Err(SupervisorError::Old { verb: A::VERB, subject: subject.to_owned(), lacking });
        }
        let frame = wire::frame::request(number, &request);
        if frame.len() > wire::REQUEST_LIMIT {
            return Err(SupervisorError::TooLong { length: frame.len(), limit: wire::REQUEST_LIMIT });
        }
        let answered = self.send(number, frame).await.ok_or_else(|| question.gone())?;
        let (reply, passed) = answered.await.map_err(|_| question.gone())?;
        failpoint::pass!("engine.frame.answered");
        question.answer::<A>(reply, passed)
    }

    /// The same for an answer that may take so long.
    pub(super) async fn ask_within<A: Ask>(
        &self,
        limit: Duration,
        subject: &str,
        ask: A,
    ) -> Result<A::Answer, SupervisorError> {
        let answer = tokio::time::timeout(limit, self.ask(subject, ask)).await;
        answer.unwrap_or_else(|_| Err(Question::of::<A>(&self.pod, subject).silent(limit)))
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
    let mut passed = VecDeque::new();
    // The first answer may have come with more.
    while take(&mut decoder, &mut passed, &pending, &notify) {
        let received = stream.as_ref().async_io(Interest::READABLE, || {
            // On the stack, as most pods say nothing for most of the time.
            let mut buffer = [0; 4096];
            let count = sys::socket::read(stream.as_ref().as_fd(), &mut buffer, &mut passed)
                .map_err(|error| io::Error::from_raw_os_error(error.errno))?;
            decoder.push(buffer.get(..count).unwrap_or_default());
            Ok(count)
        });
        if matches!(received.await, Ok(0) | Err(_)) {
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
pub(super) mod tests {
    use super::super::request::{Remove, Start};
    use super::*;
    use std::io::{Read as _, Write as _};
    use wire::msg::{ErrorCode, ExitRecord, Request};

    /// A connection, and the shim's end of it.
    fn pair() -> (Connection, std::os::unix::net::UnixStream) {
        with(FrameDecoder::new(), Box::new(|_| {}))
    }

    fn with(decoder: FrameDecoder, notify: Notify) -> (Connection, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let features = Features::default();
        let greeting =
            Greeting { version: wire::VERSION, pid: 7, pause_pid: None, containers: vec![], features };
        let greeted = Greeted { stream: UnixStream::from_std(ours).unwrap(), decoder, greeting };
        (Connection::new("pod", greeted, notify).0, theirs)
    }

    /// A shim that answers every request with the same.
    pub(in super::super) fn answering(mut theirs: std::os::unix::net::UnixStream, reply: Reply) {
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

    #[tokio::test]
    async fn what_came_with_the_first_answer_is_told() {
        let mut decoder = FrameDecoder::new();
        let record = ExitRecord { id: "c1".into(), ..ExitRecord::default() };
        decoder.push(&wire::frame::event(&Event::Exited(record)));
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let (_connection, _theirs) = with(decoder, Box::new(move |notice| drop(told.send(notice))));
        let first = tokio::time::timeout(Duration::from_secs(10), hears.recv()).await.unwrap().unwrap();
        assert!(matches!(first, Notice::Exited(record) if record.id == "c1"));
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
