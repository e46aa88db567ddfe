//! The first question on a connection to a shim, and what it says of itself. Nothing else is asked before.

use super::error::SupervisorError;
use super::question::Question;
use super::request::{Ask, Greet, Greeting};
use std::io::{self, Read, Write};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wire::frame::{Body, Frame, FrameDecoder};

/// More than the answer takes of a pod of a few containers.
const BUFFER: usize = 1024;

/// A shim that has answered the first question.
pub(super) struct Greeted<S> {
    pub(super) stream: S,
    /// What came behind the answer.
    pub(super) decoder: FrameDecoder,
    pub(super) greeting: Greeting,
}

impl Greeted<std::os::unix::net::UnixStream> {
    /// Asks, and blocks until it is answered. For a thread that has nothing else to do: while a pod is made, that is sooner
    /// than it takes until a worker of the runtime looks at a new socket.
    pub(super) fn blocking(
        pod: &str,
        mut stream: std::os::unix::net::UnixStream,
        limit: Duration,
    ) -> Result<Self, SupervisorError> {
        let (mut first, mut buffer) = (First::new(pod), [0; BUFFER]);
        stream.set_read_timeout(Some(limit)).map_err(|_| first.question.gone())?;
        stream.write_all(&First::frame()).map_err(|_| first.question.gone())?;
        loop {
            match stream.read(&mut buffer) {
                Ok(count) => {
                    if let Some(greeting) = first.take(buffer.get(..count).unwrap_or_default())? {
                        return Ok(Self { stream, decoder: first.decoder, greeting });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(first.question.silent(limit));
                }
                Err(_) => return Err(first.question.gone()),
            }
        }
    }

    /// The same within the runtime.
    pub(super) fn within_runtime(self) -> io::Result<Greeted<UnixStream>> {
        self.stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(self.stream)?;
        Ok(Greeted { stream, decoder: self.decoder, greeting: self.greeting })
    }
}

impl Greeted<UnixStream> {
    /// Asks, and waits until it is answered.
    pub(super) async fn waiting(
        pod: &str,
        stream: UnixStream,
        limit: Duration,
    ) -> Result<Self, SupervisorError> {
        let asked = tokio::time::timeout(limit, Self::ask(pod, stream)).await;
        asked.unwrap_or_else(|_| Err(First::new(pod).question.silent(limit)))
    }

    async fn ask(pod: &str, mut stream: UnixStream) -> Result<Self, SupervisorError> {
        let (mut first, mut buffer) = (First::new(pod), [0; BUFFER]);
        stream.write_all(&First::frame()).await.map_err(|_| first.question.gone())?;
        loop {
            let count = stream.read(&mut buffer).await.map_err(|_| first.question.gone())?;
            if let Some(greeting) = first.take(buffer.get(..count).unwrap_or_default())? {
                return Ok(Self { stream, decoder: first.decoder, greeting });
            }
        }
    }
}

/// The question, and what has come of the answer.
struct First<'a> {
    question: Question<'a>,
    decoder: FrameDecoder,
}

impl<'a> First<'a> {
    fn new(pod: &'a str) -> Self {
        Self { question: Question::of::<Greet>(pod, pod), decoder: FrameDecoder::new() }
    }

    fn frame() -> Vec<u8> {
        wire::frame::request(0, &Greet.request())
    }

    /// Takes more of the answer, nothing at the end of the stream; the greeting once it is whole, where it is in a version
    /// that is spoken.
    fn take(&mut self, more: &[u8]) -> Result<Option<Greeting>, SupervisorError> {
        if more.is_empty() {
            return Err(self.question.gone());
        }
        self.decoder.push(more);
        let reply = match self.decoder.next_frame() {
            Ok(Some(Frame { body: Body::Reply(reply), .. })) => reply,
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(_) => return Err(self.question.gone()),
        };
        let greeting = self.question.answer::<Greet>(reply, Vec::new())?;
        if (wire::OLDEST..=wire::VERSION).contains(&greeting.version) {
            return Ok(Some(greeting));
        }
        Err(SupervisorError::Foreign { pod: self.question.pod.to_owned(), version: greeting.version })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::connection::tests::answering;
    use super::*;
    use wire::feature::Features;
    use wire::msg::{ErrorCode, Reply};

    type Stream = std::os::unix::net::UnixStream;

    /// What becomes of the first question with a shim like this: on a thread, and within the runtime.
    fn greet(shim: &dyn Fn(Stream)) -> [Result<u32, SupervisorError>; 2] {
        let limit = Duration::from_millis(50);
        let pair = || {
            let (ours, theirs) = Stream::pair().unwrap();
            shim(theirs);
            ours
        };
        let blocked = Greeted::blocking("p1", pair(), limit);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waited = runtime.block_on(async {
            let ours = pair();
            ours.set_nonblocking(true).unwrap();
            Greeted::waiting("p1", UnixStream::from_std(ours).unwrap(), limit).await
        });
        [blocked.map(|greeted| greeted.greeting.version), waited.map(|greeted| greeted.greeting.version)]
    }

    #[test]
    fn the_first_answer_of_a_shim_is_looked_at() {
        let says = |reply: Reply| greet(&move |theirs| answering(theirs, reply.clone()));
        let hello = |version| {
            let (containers, features) = (Vec::new(), Features::default());
            says(Reply::Hello {
                version,
                pid: 7,
                sandbox_ready: false,
                containers,
                pause_pid: None,
                features,
            })
        };
        for version in hello(wire::VERSION) {
            assert_eq!(version.unwrap(), wire::VERSION);
        }
        for foreign in hello(wire::VERSION + 1).map(Result::unwrap_err) {
            assert!(matches!(foreign, SupervisorError::Foreign { .. }), "{foreign}");
        }
        for wrong in says(Reply::Ok).map(Result::unwrap_err) {
            assert!(matches!(wrong, SupervisorError::WrongReply { .. }), "{wrong}");
        }
        let refusal = Reply::Error { kind: ErrorCode::BadState, errno: 0, message: "not now".into() };
        for refused in says(refusal).map(Result::unwrap_err) {
            assert_eq!(refused.to_string(), "say what runs in p1: not now");
        }
        for gone in greet(&drop).map(Result::unwrap_err) {
            assert!(matches!(gone, SupervisorError::Gone { .. }), "{gone}");
        }
        for silent in greet(&std::mem::forget).map(Result::unwrap_err) {
            assert!(matches!(silent, SupervisorError::Silent { .. }), "{silent}");
        }
    }
}
