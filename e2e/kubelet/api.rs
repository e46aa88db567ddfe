//! The kubelet's API, over TLS with the certificate that it made itself: plain requests, and exec over WebSocket.

use e2e::Error;
use e2e::error::Context;
use e2e::http::{self, Reply};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// The key of RFC 6455's example, and the answer to it.
const KEY: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// The version of the streaming protocol that knows closing stdin.
const PROTOCOL: &str = "v5.channel.k8s.io";

/// Channels of the streaming protocol.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// Where the API is, and whom to trust.
#[derive(Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

/// What a command in a container left behind.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    /// The status that ended the stream.
    pub(crate) status: Value,
}

impl Executed {
    /// The exit code that the status tells.
    pub(crate) fn code(&self) -> Option<i32> {
        if self.status["status"] == "Success" {
            return Some(0);
        }
        let causes = self.status["details"]["causes"].as_array()?;
        let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
        cause["message"].as_str()?.parse().ok()
    }
}

impl Api {
    /// An API that serves with a certificate for a host name.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub(crate) fn new(address: SocketAddr, host: &'static str, certificate: &Path) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for found in
            CertificateDer::pem_file_iter(certificate).map_err(io::Error::other).at("read", certificate)?
        {
            let found = found.map_err(io::Error::other).at("read", certificate)?;
            roots.add(found).map_err(io::Error::other).at("trust", certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)
            .at("set up", "TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host).map_err(io::Error::other).at("understand", host)?;
        Ok(Self { address, name, tls: Arc::new(tls) })
    }

    /// The body of a reply that must be a success.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn get(&self, target: &str) -> Result<String, Error> {
        self.plain("GET", target)
    }

    /// Runs a command in a container and waits for its output.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn run(&self, pod: &str, container: &str, command: &str) -> Result<String, Error> {
        self.plain("POST", &format!("/run/default/{pod}/{container}?cmd={}", escape(command)))
    }

    /// Streams a command in a container over WebSocket: writes its input and closes that, reads until the end.
    ///
    /// # Errors
    /// When the connection fails or is refused.
    pub(crate) fn exec(
        &self,
        pod: &str,
        container: &str,
        command: &[&str],
        stdin: &str,
    ) -> Result<Executed, Error> {
        let words: String = command.iter().map(|word| format!("&command={}", escape(word))).collect();
        let target = format!("/exec/default/{pod}/{container}?input=1&output=1&error=1{words}");
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n",
            self.address, KEY.0
        );
        let mut connection = self.connect().at("connect to", &target)?;
        let reply = switch(&mut connection, head.as_bytes()).at("send to", &target)?;
        let accepted = reply.header("sec-websocket-accept") == Some(KEY.1)
            && reply.header("sec-websocket-protocol") == Some(PROTOCOL);
        if reply.status != 101 || !accepted {
            return Err(refused("GET", &target, &reply));
        }
        converse(&mut connection, stdin.as_bytes()).at("stream with", &target)
    }

    fn plain(&self, method: &str, target: &str) -> Result<String, Error> {
        // A reply to HTTP/1.0 is never chunked.
        let head =
            format!("{method} {target} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.address);
        let mut connection = self.connect().at("connect to", target)?;
        connection.write_all(head.as_bytes()).at("send to", target)?;
        let reply = http::read(BufReader::new(connection)).at("read from", target)?;
        if reply.status == 200 {
            return Ok(String::from_utf8_lossy(&reply.body).into_owned());
        }
        Err(refused(method, target, &reply))
    }

    fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let client =
            ClientConnection::new(Arc::clone(&self.tls), self.name.clone()).map_err(io::Error::other)?;
        Ok(StreamOwned::new(client, stream))
    }
}

fn refused(method: &str, target: &str, reply: &Reply) -> Error {
    let text = format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body));
    Error::Refused { request: format!("{method} {target}"), reply: text }
}

/// Sends the head of an upgrade and reads the head of the reply, not a byte more.
fn switch(connection: &mut Connection, head: &[u8]) -> io::Result<Reply> {
    connection.write_all(head)?;
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") && text.len() < 16_384 {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        text.extend(byte);
    }
    http::read(text.as_slice())
}

fn converse(connection: &mut Connection, stdin: &[u8]) -> io::Result<Executed> {
    send(connection, &[&[STDIN], stdin].concat())?;
    send(connection, &[CLOSE, STDIN])?;
    let mut executed = Executed::default();
    while let Some(message) = receive(connection)? {
        let Some((channel, bytes)) = message.split_first() else { continue };
        match *channel {
            STDOUT => executed.stdout.push_str(&String::from_utf8_lossy(bytes)),
            STDERR => executed.stderr.push_str(&String::from_utf8_lossy(bytes)),
            STATUS => executed.status = serde_json::from_slice(bytes)?,
            _ => {}
        }
    }
    Ok(executed)
}

/// Sends one binary message; a client's are masked, and a mask of zeros is one.
fn send(connection: &mut Connection, message: &[u8]) -> io::Result<()> {
    let length = u8::try_from(message.len()).ok().filter(|length| *length < 126);
    let length = length.ok_or_else(|| io::Error::other("a message that is too long for this client"))?;
    connection.write_all(&[&[0x82, 0x80 | length, 0, 0, 0, 0], message].concat())
}

/// Receives one message; nothing after the one that closes.
fn receive(connection: &mut Connection) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 2];
    connection.read_exact(&mut head)?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut bytes = [0; 2];
            connection.read_exact(&mut bytes)?;
            u64::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            connection.read_exact(&mut bytes)?;
            u64::from_be_bytes(bytes)
        }
        short => u64::from(short),
    };
    let mut message = Vec::new();
    connection.take(length).read_to_end(&mut message)?;
    Ok((head[0] & 0x0f != 8).then_some(message))
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
