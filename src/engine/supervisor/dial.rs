//! Connections to the ports of a pod.

use crate::blocking;
use crate::error::EngineError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// How long a port may take to answer: longer than a lost packet is sent again.
const ANSWER: Duration = Duration::from_secs(10);

/// Connects from within a network namespace: to 127.0.0.1, else to ::1.
pub(super) async fn dial(pod: &str, netns: Option<PathBuf>, port: u16) -> Result<TcpStream, EngineError> {
    let v4 = match connect(netns.clone(), (Ipv4Addr::LOCALHOST, port).into()).await? {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    match connect(netns, (Ipv6Addr::LOCALHOST, port).into()).await? {
        Ok(stream) => Ok(stream),
        Err(v6) => Err(EngineError::Dial { pod: pod.to_owned(), port, v4, v6 }),
    }
}

/// The outer error is about the namespace, the inner one about the address.
async fn connect(netns: Option<PathBuf>, address: SocketAddr) -> Result<io::Result<TcpStream>, EngineError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let opened = blocking("opening a socket in a pod", move || open(netns, family)).await?;
    let socket = match opened {
        Ok(socket) => TcpSocket::from_std_stream(socket.into()),
        Err(error) => return Ok(Err(error)),
    };
    Ok(match tokio::time::timeout(ANSWER, socket.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    })
}

/// A socket belongs to the namespace in which it is made, whoever uses it later.
fn open(netns: Option<PathBuf>, family: AddressFamily) -> Result<io::Result<OwnedFd>, EngineError> {
    let make = move || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(family, SocketType::STREAM, flags, None).map_err(io::Error::from)
    };
    let Some(path) = netns else { return Ok(make()) };
    let namespace = std::fs::File::open(&path).map_err(EngineError::io("open", &path))?;
    sys::netns::run_in(namespace.as_fd(), make)
        .map_err(EngineError::sys("enter the network namespace of a pod"))
}
