//! The daemon's end of a pod's shim: one connection, many requests in flight, exits as they come.

use crate::error::EngineError;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use wire::feature::Features;
use wire::frame::{Body, Frame, FrameDecoder};
use wire::msg::{ContainerSnapshot, Event, Reply, Request};

/// What the reader of a connection tells the engine.
pub(crate) enum Notice {
    /// A container ended.
    Exited(wire::msg::ExitRecord),
    /// The connection is closed: the shim is gone.
    Lost,
}

/// What a shim says of itself.
pub(crate) struct Hello {
    pub(crate) pid: i32,
    pub(crate) pause_pid: Option<i32>,
    pub(crate) containers: Vec<ContainerSnapshot>,
}

/// How long a shim may take to answer its first question. One that has ended closes its connection, so this is only for
/// one that hangs; to take a slow machine for that would end the pods of a daemon that comes back.
const HELLO: Duration = Duration::from_secs(60);

/// An answer and the descriptors that came with it.
type Answer = (Reply, Vec<OwnedFd>);

type Pending = Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>;

/// A connection to a shim.
pub(crate) struct Shim {
    pod: String,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    /// `None` once the connection is closed.
    pending: Arc<Pending>,
    next: AtomicU64,
    process: Mutex<Option<(i32, Arc<OwnedFd>)>>,
    /// What it can do, as it said in its greeting.
    features: OnceLock<Features>,
}

impl Shim {
    /// Connects to the shim that listens in the pod's directory.
    pub(crate) async fn connect(
        pod: &str,
        dir: &Path,
        notify: impl Fn(Notice) + Send + 'static,
    ) -> Result<Arc<Self>, EngineError> {
        let stream = connect(dir).map_err(EngineError::io("connect to", dir.join("shim.sock")))?;
        let (reader, writer) = stream.into_split();
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(read(reader, pending.clone(), notify));
        Ok(Arc::new(Self {
            pod: pod.to_owned(),
            writer: tokio::sync::Mutex::new(writer),
            pending,
            next: AtomicU64::new(1),
            process: Mutex::new(None),
            features: OnceLock::new(),
        }))
    }

    /// The first question on a connection: events flow once it is answered.
    pub(crate) async fn hello(&self) -> Result<Hello, EngineError> {
        let answer = tokio::time::timeout(HELLO, self.ask("say who it is", &self.pod, &Request::Hello)).await;
        match answer {
            Ok(Ok(Reply::Hello { version, pid, containers, pause_pid, features, .. })) => {
                if !(wire::OLDEST..=wire::VERSION).contains(&version) {
                    return Err(EngineError::ForeignShim { pod: self.pod.clone(), version });
                }
                // Its features do not change: a second greeting says the same.
                let _ = self.features.set(features);
                Ok(Hello { pid, pause_pid, containers })
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(EngineError::ShimGone { pod: self.pod.clone(), operation: "say who it is" }),
            Err(_) => Err(EngineError::ShimSilent { pod: self.pod.clone(), seconds: HELLO.as_secs() }),
        }
    }

    /// Remembers the shim's process, to tell when it is gone.
    pub(crate) fn set_process(&self, pid: i32, pidfd: OwnedFd) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some((pid, Arc::new(pidfd)));
    }

    /// The connection is closed; whether the shim lives is another question.
    pub(crate) fn is_closed(&self) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The shim's process id.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(pid, _)| *pid)
    }

    /// Asks and waits for the answer; an error that the shim reports becomes an error here.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        id: &str,
        request: &Request,
    ) -> Result<Reply, EngineError> {
        self.exchange(operation, id, request).await.map(|(reply, _)| reply)
    }

    /// Asks for streams: the number of what was opened, and its descriptors.
    pub(crate) async fn open(
        &self,
        operation: &'static str,
        id: &str,
        request: &Request,
    ) -> Result<(u64, Vec<OwnedFd>), EngineError> {
        match self.exchange(operation, id, request).await? {
            (Reply::Opened { number, .. }, passed) => Ok((number, passed)),
            _ => Err(EngineError::ShimGone { pod: self.pod.clone(), operation }),
        }
    }

    async fn exchange(
        &self,
        operation: &'static str,
        id: &str,
        request: &Request,
    ) -> Result<Answer, EngineError> {
        let lacking = request.needs().without(self.features.get().copied().unwrap_or_default());
        if !lacking.is_empty() {
            return Err(EngineError::OldShim { operation, id: id.to_owned(), lacking });
        }
        let gone = || EngineError::ShimGone { pod: self.pod.clone(), operation };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = wire::frame::request(number, request);
        if bytes.len() > wire::REQUEST_LIMIT {
            let problem = format!("it takes {} bytes, more than {}", bytes.len(), wire::REQUEST_LIMIT);
            return Err(EngineError::Invalid { field: "the process's arguments and environment", problem });
        }
        let (answer, answered) = oneshot::channel();
        match &mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(pending) => pending.insert(number, answer),
            None => return Err(gone()),
        };
        self.writer.lock().await.write_all(&bytes).await.map_err(|_| gone())?;
        match answered.await.map_err(|_| gone())? {
            (Reply::Error { kind: code, errno, message }, _) => {
                Err(EngineError::Shim { operation, id: id.to_owned(), code, errno, message })
            }
            answer => Ok(answer),
        }
    }

    /// Waits until the shim's process is gone and, where it is our child, takes its status.
    pub(crate) async fn gone(&self, limit: Duration) -> bool {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((_, pidfd)) = process else { return true };
        wait_pidfd(&pidfd, limit).await
    }

    /// Ends a shim that does not answer.
    pub(crate) fn kill(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, pidfd)) = process {
            let _ = rustix::process::pidfd_send_signal(&*pidfd, rustix::process::Signal::KILL);
        }
    }
}

/// Waits for the process behind a pidfd; true when it is gone.
pub(crate) async fn wait_pidfd(pidfd: &Arc<OwnedFd>, limit: Duration) -> bool {
    #[expect(
        deprecated,
        reason = "an owned descriptor keeps what the unsafe successor asks its caller to keep"
    )]
    let Ok(ready) = AsyncFd::with_interest(pidfd.clone(), tokio::io::Interest::READABLE) else {
        return false;
    };
    let gone = matches!(tokio::time::timeout(limit, ready.readable()).await, Ok(Ok(_)));
    if gone {
        // A shim that an earlier daemon started is not our child: init takes its status.
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
        );
    }
    gone
}

/// Socket addresses hold 108 bytes: a long directory is reached through a descriptor of it.
fn connect(dir: &Path) -> std::io::Result<UnixStream> {
    let held = std::fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/shim.sock", std::os::fd::AsRawFd::as_raw_fd(&held));
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn read(stream: OwnedReadHalf, pending: Arc<Pending>, notify: impl Fn(Notice)) {
    let mut decoder = FrameDecoder::new();
    let mut buffer = vec![0; 4096];
    let mut passed = VecDeque::new();
    'connection: loop {
        let received = stream.as_ref().async_io(Interest::READABLE, || {
            sys::socket::read(stream.as_ref().as_fd(), &mut buffer, &mut passed)
                .map_err(|error| std::io::Error::from_raw_os_error(error.errno))
        });
        match received.await {
            Ok(0) | Err(_) => break,
            Ok(count) => decoder.push(buffer.get(..count).unwrap_or_default()),
        }
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame { id, body: Body::Reply(reply) })) => {
                    let count = match &reply {
                        Reply::Opened { descriptors, .. } => *descriptors as usize,
                        _ => 0,
                    };
                    let descriptors = passed.drain(..count.min(passed.len())).collect();
                    let waiter = match &mut *pending.lock().unwrap_or_else(PoisonError::into_inner) {
                        Some(pending) => pending.remove(&id),
                        None => None,
                    };
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
                    break 'connection;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "a shim sent a frame that cannot be read");
                    break 'connection;
                }
            }
        }
    }
    drop(pending.lock().unwrap_or_else(PoisonError::into_inner).take());
    notify(Notice::Lost);
}

#[cfg(test)]
mod tests;
