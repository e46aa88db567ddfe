//! What clients say of the server's name, made fit for the HTTP/2 library.
//!
//! Many gRPC clients (those of C++, Python and Java, old ones of Go) name a server on a Unix socket by the socket's path:
//! `:authority` is `%2Frun%2Fcorten.sock` or `/run/corten.sock`. That is no authority of a URI, and h2 resets such streams;
//! other runtimes do not look at it, and nothing here does. So what cannot be in an authority is overwritten in the header
//! blocks on their way in: with characters as long as theirs, for nothing else in the frame moves and both sides'
//! compression stays in step. Everything else passes as it is, above all what is not understood.

mod hpack;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::{Connected, UdsConnectInfo};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The longest frame that h2 takes unless it is told otherwise.
const MAX_FRAME: usize = 16 << 10;
/// What is read at a time.
const PIECE: usize = 16 << 10;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Lenient<S = UnixStream> {
    stream: S,
    scanner: Scanner,
}

impl<S> Lenient<S> {
    /// At its beginning.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, scanner: Scanner::default() }
    }
}

impl Connected for Lenient {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, scanner } = &mut *self;
        while scanner.ready == 0 {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                // What is not complete will not be.
                scanner.ready = scanner.held.len();
                break;
            }
            scanner.take(piece.filled());
        }
        let count = scanner.ready.min(buffer.remaining());
        buffer.put_slice(scanner.held.get(..count).unwrap_or_default());
        scanner.held.drain(..count);
        scanner.ready -= count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Finds the header blocks.
#[derive(Debug, Default)]
struct Scanner {
    /// What was read and not handed on; the first `ready` bytes may be.
    held: Vec<u8>,
    ready: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Before the first frame.
    #[default]
    Preface,
    /// Between frames.
    Head,
    /// Within one that passes, with so many bytes left.
    Pass(usize),
    /// Not HTTP/2 as it is known here.
    Raw,
}

impl Scanner {
    fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while self.step() {}
    }

    /// Makes more ready; `false` when more must come first.
    fn step(&mut self) -> bool {
        let unread = self.held.get_mut(self.ready..).unwrap_or_default();
        let available = unread.len();
        let (ready, state) = match self.state {
            _ if available == 0 => return false,
            State::Raw => (available, State::Raw),
            State::Pass(left) if left > available => (available, State::Pass(left - available)),
            State::Pass(left) => (left, State::Head),
            State::Preface if unread.starts_with(PREFACE) => (PREFACE.len(), State::Head),
            State::Preface if PREFACE.starts_with(unread) => return false,
            State::Preface => (available, State::Raw),
            State::Head => {
                let Some(&[a, b, c, kind, flags, ..]) = unread.first_chunk::<HEAD>() else { return false };
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                match unread.get_mut(HEAD..HEAD + length) {
                    _ if kind != HEADERS || length > MAX_FRAME => (HEAD, State::Pass(length)),
                    None => return false,
                    Some(content) => {
                        if let Some(block) = block(content, flags) {
                            hpack::soften(block);
                        }
                        (HEAD + length, State::Head)
                    }
                }
            }
        };
        self.ready += ready;
        self.state = state;
        true
    }
}

/// The header block in the content of a HEADERS frame, or what there is of it.
fn block(content: &mut [u8], flags: u8) -> Option<&mut [u8]> {
    let (mut begin, mut end) = (0, content.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*content.first()?))?;
        begin += 1;
    }
    if flags & PRIORITY != 0 {
        begin += 5;
    }
    content.get_mut(begin..end)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
