//! A connection to a bus, or to a peer that speaks its protocol on a socket of its own.

use crate::message::{self, Body, Kind, Message, PREFIX, Target};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

const BUS: Target = Target {
    name: Some("org.freedesktop.DBus"),
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
/// The longest line of the handshake.
const LINE: u64 = 1024;

/// What goes wrong with a bus.
#[derive(Debug, Error)]
pub enum BusError {
    /// Nobody listens there.
    #[error("connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The handshake came to nothing.
    #[error("the bus does not let us in: {0:?}")]
    Refused(String),
    /// Reading or writing failed.
    #[error("talk to the bus")]
    Io(#[from] io::Error),
    /// What came is no message.
    #[error("the bus sends {0}")]
    Malformed(&'static str),
    /// A method answered with an error.
    #[error("{name}: {text}")]
    Method {
        /// The error's name.
        name: String,
        /// Its text.
        text: String,
    },
    /// The connection has ended.
    #[error("the bus has closed the connection")]
    Closed,
}

type Waiting = HashMap<u32, oneshot::Sender<Message>>;

/// A connection; it ends when the last clone of it is gone.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    /// To a task that writes whole messages, whatever becomes of who sends them.
    output: mpsc::UnboundedSender<Vec<u8>>,
    /// `None`: the connection has ended.
    waiting: Arc<Mutex<Option<Waiting>>>,
    last: Arc<AtomicU32>,
}

impl Bus {
    /// Connects to a bus and takes a name on it, or to a peer of its own. Signals go to `signals`, in their order.
    pub(crate) async fn connect(
        path: &Path,
        is_bus: bool,
        signals: mpsc::UnboundedSender<Message>,
    ) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|source| BusError::Connect { path: path.to_owned(), source })?;
        let (input, mut output) = stream.into_split();
        let mut input = BufReader::new(input);
        greet(&mut input, &mut output).await?;
        let (sender, messages) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Some(Waiting::new())));
        let bus = Self { output: sender, waiting: Arc::clone(&waiting), last: Arc::default() };
        tokio::spawn(write(messages, output));
        tokio::spawn(async move {
            let Err(error) = read(input, &waiting, &signals).await;
            tracing::debug!(%error, "the connection to systemd has ended");
            // Those who wait for an answer hear of it by this.
            drop(lock(&waiting).take());
        });
        if is_bus {
            bus.call(BUS, "Hello", &Body::default()).await?;
        }
        Ok(bus)
    }

    /// Asks a bus for the signals of a rule.
    pub(crate) async fn add_match(&self, rule: &str) -> Result<(), BusError> {
        self.call(BUS, "AddMatch", &Body::of(&[rule])).await.map(drop)
    }

    /// Calls a method and waits for its answer.
    pub(crate) async fn call(&self, target: Target, method: &str, body: &Body) -> Result<Message, BusError> {
        let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).as_mut().ok_or(BusError::Closed)?.insert(number, sender);
        self.output.send(body.call(number, target, method)).map_err(|_| BusError::Closed)?;
        let answer = answer.await.map_err(|_| BusError::Closed)?;
        match answer.kind {
            Kind::Error => {
                let text = answer.first_text().unwrap_or_default().to_owned();
                Err(BusError::Method { name: answer.error, text })
            }
            _ => Ok(answer),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.waiting).is_none()
    }
}

fn lock(waiting: &Mutex<Option<Waiting>>) -> MutexGuard<'_, Option<Waiting>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handshake: who we are, the kernel tells.
async fn greet(input: &mut BufReader<OwnedReadHalf>, output: &mut OwnedWriteHalf) -> Result<(), BusError> {
    let user = std::fs::metadata("/proc/self")?.uid().to_string();
    let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
    output.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes()).await?;
    let mut line = String::new();
    input.take(LINE).read_line(&mut line).await?;
    if !line.starts_with("OK ") || !line.ends_with("\r\n") {
        return Err(BusError::Refused(line));
    }
    output.write_all(b"BEGIN\r\n").await?;
    Ok(())
}

async fn write(mut messages: mpsc::UnboundedReceiver<Vec<u8>>, mut output: OwnedWriteHalf) {
    while let Some(message) = messages.recv().await {
        // The reader sees the end of the connection, too, and tells it.
        if output.write_all(&message).await.is_err() {
            break;
        }
    }
}

async fn read(
    mut input: impl AsyncRead + Unpin,
    waiting: &Mutex<Option<Waiting>>,
    signals: &mpsc::UnboundedSender<Message>,
) -> Result<std::convert::Infallible, BusError> {
    loop {
        let mut prefix = [0; PREFIX];
        input.read_exact(&mut prefix).await?;
        let mut bytes = prefix.to_vec();
        bytes.resize(message::length(&prefix)?, 0);
        input.read_exact(&mut bytes[PREFIX..]).await?;
        let message = Message::parse(&bytes)?;
        match (message.kind, message.answers) {
            (Kind::Return | Kind::Error, Some(number)) => {
                let waits = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&number));
                if let Some(sender) = waits {
                    // Nobody waits any more: fine.
                    let _ = sender.send(message);
                }
            }
            (Kind::Signal, _) => drop(signals.send(message)),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
