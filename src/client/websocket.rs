//! WebSocket (RFC 6455) as the client's side, for the streams of a command: `src/stream` has the server's.

use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The protocol of the streams: channels in binary messages, which a client may close.
const PROTOCOL: &str = "v5.channel.k8s.io";
/// The longest head of an answer, and the longest message.
const LONGEST: usize = 32 << 20;
const LONGEST_HEAD: usize = 16 << 10;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// An open connection.
pub(crate) struct Socket {
    stream: TcpStream,
    address: String,
    /// What came behind the head.
    rest: Vec<u8>,
}

/// What comes.
pub(crate) struct Incoming {
    stream: OwnedReadHalf,
    address: String,
    bytes: Vec<u8>,
    message: Vec<u8>,
}

/// What goes.
pub(crate) struct Outgoing(OwnedWriteHalf);

impl Socket {
    /// Opens the streams at a URL that the daemon gave out.
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        let uri: Uri = url.parse().unwrap_or_default();
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        let wrong = |reason: String| Error::Stream { address: address.clone(), reason };
        if uri.scheme_str() != Some("http") {
            return Err(wrong(
                "they are encrypted (stream.tls_cert_file): use kubectl exec, or crictl".to_owned(),
            ));
        }
        let failed = |source| Error::Dial { address: address.clone(), source };
        let mut stream = TcpStream::connect(&address).await.map_err(failed)?;
        // Keys that are typed go out one by one.
        let _ = stream.set_nodelay(true);
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| failed(io::Error::other(error)))?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n",
            uri.path(),
            STANDARD.encode(nonce)
        );
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let (head, rest) = head(&mut stream).await.map_err(failed)?;
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(wrong(format!("it answers {:?}", head.lines().next().unwrap_or_default())));
        }
        let has_protocol = head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-protocol") && value.trim() == PROTOCOL
        });
        if !has_protocol {
            return Err(wrong(format!("it does not speak {PROTOCOL}")));
        }
        Ok(Self { stream, address, rest })
    }

    /// Both directions.
    pub(crate) fn split(self) -> (Incoming, Outgoing) {
        let (read, write) = self.stream.into_split();
        let incoming =
            Incoming { stream: read, address: self.address, bytes: self.rest, message: Vec::new() };
        (incoming, Outgoing(write))
    }
}

/// The head of an answer, and what came with it.
async fn head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Incoming {
    /// The next message; `None` when the other side has said goodbye, or is gone.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match cut(&mut self.bytes) {
                Err(reason) => {
                    return Err(Error::Stream { address: self.address.clone(), reason: reason.to_owned() });
                }
                Ok(Some(Frame { opcode: CLOSE, .. })) => return Ok(None),
                // The server asks nobody whether he is there.
                Ok(Some(Frame { opcode: PING | PONG, .. })) => {}
                Ok(Some(Frame { fin, payload, .. })) => {
                    self.message.extend_from_slice(&payload);
                    if fin {
                        return Ok(Some(std::mem::take(&mut self.message)));
                    }
                }
                Ok(None) => match self.stream.read_buf(&mut self.bytes).await {
                    Ok(0) | Err(_) => return Ok(None),
                    Ok(_) => {}
                },
            }
        }
    }
}

impl Outgoing {
    /// Sends bytes on a channel.
    pub(crate) async fn send(&mut self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        let mut mask = [0; 4];
        getrandom::fill(&mut mask).map_err(io::Error::other)?;
        self.0.write_all(&frame(mask, channel, bytes)).await
    }
}

/// A message of one frame, as clients send it: masked.
fn frame(mask: [u8; 4], channel: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() + 1;
    let mut frame = vec![FIN | BINARY];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => frame.push(MASKED | length),
        (_, Ok(length)) => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    let payload = std::iter::once(&channel).chain(bytes);
    frame.extend(payload.zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame of the server, which is not masked.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    fin: bool,
    payload: Vec<u8>,
}

/// Takes the first frame out of what came; `None` where it is not whole.
fn cut(bytes: &mut Vec<u8>) -> Result<Option<Frame>, &'static str> {
    let [first, second, rest @ ..] = bytes.as_slice() else { return Ok(None) };
    if second & MASKED != 0 || first & 0x70 != 0 {
        return Err("a frame that a server does not send");
    }
    let (length, at) = match (second, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, long) if long.len() >= 8 => {
            let eight = long.first_chunk().copied().unwrap_or_default();
            (usize::try_from(u64::from_be_bytes(eight)).unwrap_or(usize::MAX), 10)
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (usize::from(*length), 2),
    };
    if length > LONGEST {
        return Err("a frame that is too long");
    }
    let (opcode, fin) = (first & 0x0f, first & FIN != 0);
    let Some(payload) = bytes.get(at..at + length).map(<[u8]>::to_vec) else { return Ok(None) };
    bytes.drain(..at + length);
    Ok(Some(Frame { opcode, fin, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_out_of_what_came() {
        let mut bytes = vec![0x02, 2, 1, b'a', 0x80, 126, 0, 1];
        let first = Frame { opcode: BINARY, fin: false, payload: vec![1, b'a'] };
        assert_eq!(cut(&mut bytes), Ok(Some(first)));
        assert_eq!(cut(&mut bytes), Ok(None));
        bytes.push(b'b');
        assert_eq!(cut(&mut bytes), Ok(Some(Frame { opcode: 0, fin: true, payload: vec![b'b'] })));
        assert_eq!((cut(&mut bytes), bytes.len()), (Ok(None), 0));
        let mut long = vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2];
        assert_eq!(cut(&mut long), Ok(None));
        long.extend([3, 0x88]);
        assert_eq!(cut(&mut long), Ok(Some(Frame { opcode: BINARY, fin: true, payload: vec![1, 2, 3] })));
        assert_eq!(long, [0x88]);
        assert!(cut(&mut vec![0x82, 0x81, 0]).is_err());
        assert!(cut(&mut vec![0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn what_is_sent_is_masked_and_has_its_length() {
        assert_eq!(frame([1, 2, 3, 4], 0, b"ab"), [0x82, 0x83, 1, 2, 3, 4, 1, b'a' ^ 2, b'b' ^ 3]);
        for (length, head) in
            [(125, vec![0x82, 0xfe, 0, 126]), (65_535, vec![0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0])]
        {
            let made = frame([0; 4], 1, &vec![7; length]);
            assert_eq!((&made[..head.len()], made.len()), (head.as_slice(), head.len() + 4 + 1 + length));
        }
    }
}
