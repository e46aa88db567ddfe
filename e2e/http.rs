//! The little HTTP that pushing an image into a registry on loopback takes.

use crate::error::{Context, Error};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A request; one connection each.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET`, `PUT`, …
    pub method: &'a str,
    /// The path with its query.
    pub target: &'a str,
    /// More headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// Sends it to a server and reads the reply.
    ///
    /// # Errors
    /// When the connection fails or the reply is no HTTP.
    pub fn send(&self, server: SocketAddr) -> Result<Reply, Error> {
        let name = format!("http://{server}{}", self.target);
        let mut stream =
            TcpStream::connect_timeout(&server, Duration::from_secs(60)).at("connect to", &name)?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).at("limit", &name)?;
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n", self.method, self.target);
        for (key, value) in self.headers {
            head.push_str(&format!("{key}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(self.body)).at("send to", &name)?;
        read(BufReader::new(stream)).at("read from", &name)
    }
}

/// Reads a reply whose body is not chunked.
///
/// # Errors
/// When the connection fails or the reply is no HTTP.
pub fn read(mut reader: impl BufRead) -> std::io::Result<Reply> {
    let malformed = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(key, _)| key == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => reader.take(length).read_to_end(&mut body)?,
        None => reader.read_to_end(&mut body)?,
    };
    Ok(Reply { status, headers, body })
}
