//! A client of the streaming server that says what it is told to, and reads when it is told to: SPDY/3.1, alone and
//! within a WebSocket, and the channels of a WebSocket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How a connection is upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// To SPDY for a command or a container.
    Spdy,
    /// To SPDY for ports.
    SpdyPorts,
    /// To SPDY within a WebSocket, for ports.
    Tunnel,
    /// To channels over a WebSocket.
    Channels,
}

impl Upgrade {
    fn headers(self) -> &'static str {
        match self {
            Self::Spdy => "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io",
            Self::SpdyPorts => "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io",
            Self::Tunnel => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io"
            }
            Self::Channels => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: v4.channel.k8s.io"
            }
        }
    }

    fn is_websocket(self) -> bool {
        matches!(self, Self::Tunnel | Self::Channels)
    }
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// On a stream or a channel; `true` when it is the last.
    Data(u32, Vec<u8>, bool),
    /// It gives a stream up.
    Reset(u32),
    /// Something else.
    Other,
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    upgrade: Upgrade,
    /// Bytes of frames that are not complete, once out of a tunnel.
    inner: Vec<u8>,
    last: u32,
}

impl Raw {
    /// Connects to a URL of the CRI.
    ///
    /// # Errors
    /// The connection's, and an upgrade that is refused.
    pub fn connect(url: &str, upgrade: Upgrade) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, url.to_owned());
        let (host, path) =
            url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(invalid)?;
        let address: SocketAddr = host.parse().map_err(|_| invalid())?;
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let method = if upgrade.is_websocket() { "GET" } else { "POST" };
        let headers = upgrade.headers();
        let head =
            format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n{headers}\r\n\r\n");
        socket.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        Ok(Self { socket, upgrade, inner: Vec::new(), last: 0 })
    }

    /// The connection itself; a clone of it reads beside what writes here.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// A stream with these headers; its number.
    ///
    /// # Errors
    /// The connection's.
    pub fn open(&mut self, headers: &[(&str, &str)]) -> io::Result<u32> {
        let id = self.last + 1;
        self.last += 2;
        let frame = syn_stream(id, headers);
        self.send(&frame)?;
        Ok(id)
    }

    /// The two streams of a forwarded connection: for data, and for errors.
    ///
    /// # Errors
    /// The connection's.
    pub fn forward(&mut self, port: u16) -> io::Result<(u32, u32)> {
        let (port, request) = (port.to_string(), self.last.to_string());
        let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", request.as_str())];
        let (error, data) = (headers("error"), headers("data"));
        let error = self.open(&error)?;
        Ok((self.open(&data)?, error))
    }

    /// Bytes on a stream or a channel.
    ///
    /// # Errors
    /// The connection's.
    pub fn data(&mut self, id: u32, bytes: &[u8]) -> io::Result<()> {
        if self.upgrade == Upgrade::Channels {
            let channel = u8::try_from(id).unwrap_or_default();
            return self.socket.write_all(&masked(&[&[channel], bytes].concat()));
        }
        self.send(&frame(id, 0, bytes))
    }

    /// Nothing more comes on a stream.
    ///
    /// # Errors
    /// The connection's.
    pub fn finish(&mut self, id: u32) -> io::Result<()> {
        self.send(&frame(id, 1, &[]))
    }

    /// Gives a stream up.
    ///
    /// # Errors
    /// The connection's.
    pub fn reset(&mut self, id: u32) -> io::Result<()> {
        self.send(&rst_stream(id))
    }

    /// Frames as they are.
    ///
    /// # Errors
    /// The connection's.
    pub fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        match self.upgrade {
            Upgrade::Tunnel => self.socket.write_all(&masked(frames)),
            _ => self.socket.write_all(frames),
        }
    }

    /// What is said next.
    ///
    /// # Errors
    /// The connection's, `UnexpectedEof` at its end.
    pub fn hear(&mut self) -> io::Result<Said> {
        if self.upgrade == Upgrade::Channels {
            let (opcode, mut message) = self.message()?;
            return Ok(match message.first().copied() {
                Some(channel) if opcode == 2 => Said::Data(channel.into(), message.split_off(1), false),
                _ => Said::Other,
            });
        }
        let head = self.take(8)?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (first, second) = (word(0), word(4));
        let body = self.take((second & 0xff_ffff) as usize)?;
        Ok(match first {
            0x8003_0003 => Said::Reset(u32::from_be_bytes([body[0], body[1], body[2], body[3]])),
            first if first >> 31 == 0 => Said::Data(first, body, second >> 24 & 1 == 1),
            _ => Said::Other,
        })
    }

    /// Everything that is said on a stream, to its end or its reset; other streams are not listened to.
    ///
    /// # Errors
    /// The connection's.
    pub fn hear_all(&mut self, stream: u32) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.hear()? {
                Said::Data(id, bytes, last) if id == stream => {
                    all.extend(bytes);
                    if last {
                        return Ok(all);
                    }
                }
                Said::Reset(id) if id == stream => return Ok(all),
                _ => {}
            }
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.inner.len() < count {
            if self.upgrade == Upgrade::Tunnel {
                let (_, message) = self.message()?;
                self.inner.extend(message);
            } else {
                let mut buffer = [0; 16 << 10];
                match self.socket.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => self.inner.extend_from_slice(&buffer[..read]),
                }
            }
        }
        Ok(self.inner.drain(..count).collect())
    }

    /// A message of a WebSocket: its opcode and its content.
    fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.socket.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.socket.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            length => length.into(),
        };
        let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.socket.read_exact(&mut content)?;
        Ok((head[0] & 0xf, content))
    }
}

/// A frame that opens a stream. Its headers are stored, not compressed.
pub fn syn_stream(id: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    let size = |text: &str| u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
    let mut block = u32::try_from(headers.len()).unwrap_or_default().to_be_bytes().to_vec();
    for (name, value) in headers {
        block.extend([&size(name), name.as_bytes(), &size(value), value.as_bytes()].concat());
    }
    let mut body = [&id.to_be_bytes()[..], &[0; 6]].concat();
    if id == 1 {
        body.extend([0x78, 0x01]);
    }
    let length = u16::try_from(block.len()).unwrap_or_default();
    body.push(0);
    body.extend(length.to_le_bytes());
    body.extend((!length).to_le_bytes());
    body.extend(block);
    frame(0x8003_0001, 0, &body)
}

/// A frame that gives a stream up.
pub fn rst_stream(id: u32) -> Vec<u8> {
    frame(0x8003_0003, 0, &[id.to_be_bytes(), 5_u32.to_be_bytes()].concat())
}

fn frame(first: u32, flags: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    [&first.to_be_bytes()[..], &[flags, a, b, c], body].concat()
}

/// A binary message of a WebSocket; its mask changes nothing.
fn masked(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_be_bytes();
    [&[0x82, 0xff][..], &length, &[0; 4], content].concat()
}
