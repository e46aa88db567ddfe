//! systemd-logind as far as a kubelet asks it, on a bus of its own: who delays a shutdown, and that one is about to be.

use crate::error::{Context, Error};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest that anybody may delay a shutdown.
const LONGEST: Duration = Duration::from_secs(120);
/// Kinds of messages, and codes of their fields (D-Bus specification, "Message Format").
const RETURN: u8 = 2;
const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ANSWERS: u8 = 5;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;
const DESCRIPTORS: u8 = 9;

/// The service. It serves until the process ends.
#[derive(Debug)]
pub struct Logind {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    client: Option<UnixStream>,
    /// The other end of what the client delays a shutdown with.
    lock: Option<UnixStream>,
}

impl Logind {
    /// Serves on a socket in a directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn start(directory: &Path) -> Result<Self, Error> {
        let socket = directory.join("bus");
        let listener = UnixListener::bind(&socket).at("listen on", &socket)?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let serve = move || {
            for client in listener.incoming().flatten() {
                // A client that leaves may come again.
                let _ = talk(&client, &shared);
            }
        };
        std::thread::Builder::new().name("logind".to_owned()).spawn(serve).at("start", "a thread")?;
        Ok(Self { socket, state })
    }

    /// The address, as `DBUS_SYSTEM_BUS_ADDRESS` has it.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }

    /// Whether somebody delays a shutdown.
    pub fn is_delayed(&self) -> bool {
        let state = guard(&self.state);
        let Some(mut lock) = state.lock.as_ref() else { return false };
        let read = lock.set_nonblocking(true).and_then(|()| lock.read(&mut [0]));
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Tells that the machine is about to be shut down.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn announce_shutdown(&self) -> Result<(), Error> {
        let mut fields = Bytes::default();
        fields.field(PATH, 'o', |it| it.text("/org/freedesktop/login1"));
        fields.field(INTERFACE, 's', |it| it.text("org.freedesktop.login1.Manager"));
        fields.field(MEMBER, 's', |it| it.text("PrepareForShutdown"));
        fields.field(SENDER, 's', |it| it.text("org.freedesktop.login1"));
        let mut body = Bytes::default();
        body.number(1);
        let message = message(SIGNAL, fields, "b", &body);
        let state = guard(&self.state);
        let mut client =
            state.client.as_ref().ok_or(Error::Incomplete { method: "the bus", part: "client" })?;
        client.write_all(&message).at("write to", "a client of the bus")
    }
}

fn guard(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a client in, and answers its calls until it leaves.
fn talk(client: &UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut writer = client;
    reader.read_exact(&mut [0])?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match line.trim_end() {
            "AUTH" => "REJECTED EXTERNAL\r\n",
            "NEGOTIATE_UNIX_FD" => "AGREE_UNIX_FD\r\n",
            "BEGIN" => break,
            _ => "OK 0123456789abcdef0123456789abcdef\r\n",
        };
        writer.write_all(answer.as_bytes())?;
    }
    guard(state).client = Some(client.try_clone()?);
    loop {
        let call = Call::read(&mut reader)?;
        answer(client, &call, state)?;
    }
}

fn answer(client: &UnixStream, call: &Call, state: &Mutex<State>) -> std::io::Result<()> {
    let mut body = Bytes::default();
    let mut passed = None;
    let signature = match call.member.as_str() {
        "Hello" => {
            body.text(":1.1");
            "s"
        }
        "Get" => {
            body.signature("t");
            body.align(8);
            body.0.extend(u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX).to_le_bytes());
            "v"
        }
        "Inhibit" => {
            let (ours, theirs) = UnixStream::pair()?;
            guard(state).lock = Some(ours);
            passed = Some(theirs);
            body.number(0);
            "h"
        }
        _ => "",
    };
    let mut fields = Bytes::default();
    fields.field(ANSWERS, 'u', |it| it.number(call.number));
    if passed.is_some() {
        fields.field(DESCRIPTORS, 'u', |it| it.number(1));
    }
    let message = message(RETURN, fields, signature, &body);
    sys::socket::send(client.as_fd(), &message, passed.as_ref().map(AsFd::as_fd))
        .map_err(std::io::Error::other)
}

/// What a client asks.
struct Call {
    number: u32,
    member: String,
}

impl Call {
    fn read(from: &mut impl Read) -> std::io::Result<Self> {
        let mut head = [0; 16];
        from.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = number(12).next_multiple_of(8) + number(4);
        let mut rest = vec![0; length as usize];
        from.read_exact(&mut rest)?;
        Ok(Self { number: number(8), member: member(&rest).unwrap_or_default() })
    }
}

/// The member that a call names, among fields in any order.
fn member(fields: &[u8]) -> Option<String> {
    let mut at = 0;
    loop {
        let code = *fields.get(at)?;
        // The code is followed by the signature of the value: its length, a character, a zero.
        let begin = at + 4;
        let end = match *fields.get(at + 2)? {
            b'g' => begin + usize::from(*fields.get(begin)?) + 2,
            b'u' | b'h' => begin + 4,
            _ => {
                let length = fields.get(begin..begin + 4)?.try_into().ok().map(u32::from_le_bytes)?;
                begin + 4 + length as usize + 1
            }
        };
        if code == MEMBER {
            return String::from_utf8(fields.get(begin + 4..end - 1)?.to_vec()).ok();
        }
        at = end.next_multiple_of(8);
    }
}

/// Bytes with every value at a multiple of its size.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn field(&mut self, code: u8, kind: char, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.0.push(code);
        self.signature(&kind.to_string());
        value(self);
    }
}

fn message(kind: u8, mut fields: Bytes, signature: &str, body: &Bytes) -> Vec<u8> {
    if !signature.is_empty() {
        fields.field(SIGNATURE, 'g', |it| it.signature(signature));
    }
    let mut message = Bytes(vec![b'l', kind, 1, 1]);
    for part in [body.0.len(), 1, fields.0.len()] {
        message.number(u32::try_from(part).unwrap_or(u32::MAX));
    }
    message.0.extend(fields.0);
    message.align(8);
    message.0.extend(&body.0);
    message.0
}
