//! Whether the other end of a TCP connection is gone, while what it sent lies unread.

use crate::netlink::Socket;
use crate::{SysError, SysResult};
use nix::sys::socket::Shutdown;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

/// Whether the other end of a connection between these addresses, `own` and `peer`, has closed its side, or the
/// connection is broken. The end of what it sends cannot be told while the connection is so full that it does not fit in
/// any more; then an other end on this host is looked at itself.
pub fn has_left(connection: impl AsFd, own: SocketAddr, peer: SocketAddr) -> bool {
    is_hung_up(connection) || {
        let canonical = |address: SocketAddr| SocketAddr::from((address.ip().to_canonical(), address.port()));
        let (own, peer) = (canonical(own), canonical(peer));
        // A kernel that cannot tell, and an other end elsewhere: it is heard of when there is room again.
        (peer.ip().is_loopback() || peer.ip() == own.ip())
            && Socket::diagnostics().and_then(|socket| socket.has_closed(peer, own)).unwrap_or(false)
    }
}

fn is_hung_up(connection: impl AsFd) -> bool {
    let fd = connection.as_fd().as_raw_fd();
    let mut wanted = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry, which is valid for the call, and an open descriptor; it does not wait.
    let count = unsafe { libc::poll(&raw mut wanted, 1, 0) };
    count > 0 && wanted.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}

/// Says that nothing more comes.
///
/// # Errors
/// The connection is broken.
pub fn shutdown(connection: impl AsFd) -> SysResult<()> {
    nix::sys::socket::shutdown(connection.as_fd().as_raw_fd(), Shutdown::Write)
        .map_err(SysError::nix("shutdown", "connection"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    fn pair(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn looks_left(server: &TcpStream) -> bool {
        has_left(server, server.local_addr().unwrap(), server.peer_addr().unwrap())
    }

    fn leaves(server: &TcpStream) -> bool {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(10) {
            if looks_left(server) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    #[test]
    fn who_closes_a_connection_is_noticed_behind_what_is_unread() {
        let (mut client, server) = pair("127.0.0.1:0");
        client.write_all(b"unread").unwrap();
        assert!(!looks_left(&server));
        drop(client);
        assert!(leaves(&server));
    }

    #[test]
    fn who_closes_a_connection_that_is_full_is_noticed() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let (mut client, mut server) = pair(address);
            client.set_nonblocking(true).unwrap();
            let mut sent = 0;
            let blocked = loop {
                match client.write(&[7; 1 << 16]) {
                    Ok(count) => sent += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
            assert!(!looks_left(&server));
            drop(client);
            assert!(leaves(&server), "{address}");
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), sent, "nothing was taken from the connection by looking");
        }
    }
}
