//! Unix sockets: listeners, message pairs, descriptors in passing.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

use crate::{SysError, SysResult};

/// Descriptors that the kernel lets one message have (`SCM_MAX_FD`). Those for which there is no room here would be open
/// and known to nobody.
const MOST_PASSED: usize = 253;

/// Listens at `path`; a socket left behind there is replaced.
///
/// # Errors
/// The kernel's; a path of more than 107 bytes is `EINVAL`.
pub fn listen(path: &Path) -> SysResult<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(SysError::io("remove old socket", path)(error));
        }
        _ => {}
    }
    UnixListener::bind(path).map_err(|error| {
        // std refuses a path that is too long by itself, without a number.
        SysError::new("listen", path, error.raw_os_error().unwrap_or(libc::EINVAL))
    })
}

/// Two connected sockets that keep message boundaries (`SOCK_SEQPACKET`), close-on-exec.
///
/// # Errors
/// Too many open files.
pub fn message_pair() -> SysResult<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(SysError::nix("socketpair", ""))
}

/// Listens at `path` for connections that keep message boundaries; nothing may be there.
///
/// # Errors
/// The kernel's; `EADDRINUSE` when something is there, `ENAMETOOLONG` for a path of more than 107 bytes.
pub fn listen_messages(path: &Path) -> SysResult<OwnedFd> {
    use nix::sys::socket::{Backlog, UnixAddr, bind, listen};
    let failed = |error| SysError::nix("listen", path)(error);
    let fd = message_socket(path)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path).map_err(failed)?).map_err(failed)?;
    listen(&fd, Backlog::new(1).map_err(failed)?).map_err(failed)?;
    Ok(fd)
}

/// Connects to a socket of [`listen_messages`].
///
/// # Errors
/// The kernel's; `ECONNREFUSED` when nobody listens any more.
pub fn connect_messages(path: &Path) -> SysResult<OwnedFd> {
    use nix::sys::socket::{UnixAddr, connect};
    let failed = |error| SysError::nix("connect", path)(error);
    let fd = message_socket(path)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path).map_err(failed)?).map_err(failed)?;
    Ok(fd)
}

fn message_socket(path: &Path) -> SysResult<OwnedFd> {
    nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(SysError::nix("socket", path))
}

/// Connects to a stream socket that somebody else listens on, without waiting for a place in its queue.
///
/// # Errors
/// The kernel's; `ECONNREFUSED` when nobody listens, `EAGAIN` when too many wait already, `ENAMETOOLONG` for a path of
/// more than 107 bytes.
pub fn connect_stream(path: &Path) -> SysResult<OwnedFd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::sys::socket::{UnixAddr, connect, socket};
    let failed = |error| SysError::nix("connect", path)(error);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path).map_err(failed)?).map_err(failed)?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty())).map_err(failed)?;
    Ok(fd)
}

/// Waits for a connection on a socket of [`listen_messages`] and puts it in the place of `slot`, whose own
/// connection is closed.
///
/// # Errors
/// The kernel's.
pub fn accept_into(listener: BorrowedFd<'_>, slot: BorrowedFd<'_>) -> SysResult<()> {
    let accepted = loop {
        match nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(nix::Error::EINTR) => {}
            other => break other.map_err(SysError::nix("accept", ""))?,
        }
    };
    // SAFETY: the kernel has just handed out this descriptor, and nobody else knows it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    // SAFETY: dup3 takes no pointers; the number stays open and its owner's, with another file behind it.
    let result = unsafe { libc::dup3(accepted.as_raw_fd(), slot.as_raw_fd(), libc::O_CLOEXEC) };
    crate::fd::check("accept", b"", result.into())
}

/// Listens (for streams) under a name in an open directory, however long the directory's path is; one left behind
/// there is replaced.
///
/// # Errors
/// The kernel's.
pub fn listen_in(dir: BorrowedFd<'_>, name: &Path) -> SysResult<OwnedFd> {
    let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    let listener = listen(&path)?;
    listener.set_nonblocking(true).map_err(SysError::io("listen", path))?;
    Ok(listener.into())
}

/// Takes a connection of a listener.
///
/// # Errors
/// The kernel's; `EAGAIN` when there is none and the listener is non-blocking.
pub fn accept(listener: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    let accepted = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)
        .map_err(SysError::nix("accept", ""))?;
    // SAFETY: the kernel has just handed out this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
}

/// Sends one message, with a descriptor if there is one to pass. Never raises `SIGPIPE`.
///
/// # Errors
/// `EPIPE` when the other end is closed, `EAGAIN` when it is full and non-blocking.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], passed: Option<BorrowedFd<'_>>) -> SysResult<()> {
    let raw: Vec<RawFd> = passed.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .map_err(SysError::nix("send", ""))
}

/// Writes to a stream socket as much as it takes; the descriptors travel with the first byte. Never raises `SIGPIPE`.
///
/// # Errors
/// `EPIPE` when the other end is closed, `EAGAIN` when it is full and non-blocking.
pub fn write(socket: BorrowedFd<'_>, bytes: &[u8], passed: &[BorrowedFd<'_>]) -> SysResult<usize> {
    let raw: Vec<RawFd> = passed.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(SysError::nix("send", ""))
}

/// Reads from a stream socket; descriptors that come with the bytes are put behind those in `passed`. 0 is the end.
///
/// # Errors
/// The kernel's; `EAGAIN` when there is nothing and the socket is non-blocking.
pub fn read(socket: BorrowedFd<'_>, buffer: &mut [u8], passed: &mut VecDeque<OwnedFd>) -> SysResult<usize> {
    let mut control = nix::cmsg_space!([RawFd; MOST_PASSED]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(nix::Error::EINTR) => {}
            other => break other.map_err(SysError::nix("receive", ""))?,
        }
    };
    for part in message.cmsgs().map_err(SysError::nix("receive", ""))? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel has just installed these descriptors for us, and nobody else knows them.
            passed.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(message.bytes)
}

/// Receives one message into `buffer`: its length, 0 at the end, and the descriptor passed with it.
///
/// # Errors
/// The kernel's; `EAGAIN` when there is none and the socket is non-blocking.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> SysResult<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; MOST_PASSED]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(nix::Error::EINTR) => {}
            other => break other.map_err(SysError::nix("receive", ""))?,
        }
    };
    let mut passed = None;
    for part in message.cmsgs().map_err(SysError::nix("receive", ""))? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            for fd in fds {
                // SAFETY: the kernel has just installed this descriptor for us, and nobody else knows it.
                passed = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((message.bytes, passed))
}

/// Whether every other end of a socket of [`message_pair`] is closed and nothing is left to receive; asked without
/// waiting or taking anything.
pub fn is_abandoned(socket: BorrowedFd<'_>) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    nix::sys::socket::recv(socket.as_raw_fd(), &mut [0; 1], flags) == Ok(0)
}

/// Address families that filters look at.
pub mod family {
    pub use libc::{AF_ALG as ALG, AF_VSOCK as VSOCK};
}

/// Waits until there is something to receive, or the other end is closed, but no longer than that. A signal ends it, too.
pub fn wait_readable(socket: BorrowedFd<'_>, limit: Duration) {
    let mut wanted = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: one descriptor is given, and the time-out outlives the call; signals stay as they are.
    unsafe { libc::ppoll(&raw mut wanted, 1, &raw const limit, std::ptr::null()) };
}

/// The user id of the process that connected (`SO_PEERCRED`).
///
/// # Errors
/// The kernel's.
pub fn peer_uid(socket: BorrowedFd<'_>) -> SysResult<u32> {
    peer(socket).map(|peer| peer.uid())
}

/// The process that connected; 0 for one in a PID namespace that this process does not see.
///
/// # Errors
/// The kernel's.
pub fn peer_pid(socket: BorrowedFd<'_>) -> SysResult<i32> {
    peer(socket).map(|peer| peer.pid())
}

fn peer(socket: BorrowedFd<'_>) -> SysResult<nix::sys::socket::UnixCredentials> {
    nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)
        .map_err(SysError::nix("read peer credentials", ""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn of_more_descriptors_than_are_wanted_none_stays_open() {
        let (a, b) = message_pair().unwrap();
        let (reader, writer) = crate::fd::pipe().unwrap();
        write(a.as_fd(), b"take these", &[writer.as_fd(); 200]).unwrap();
        drop(writer);
        let (length, passed) = receive(b.as_fd(), &mut [0; 64]).unwrap();
        assert_eq!((length, passed.is_some()), (10, true));
        drop(passed);
        // Nobody can write to it any more: it is at its end.
        assert_eq!(std::fs::File::from(reader).read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (a, b) = message_pair().unwrap();
        let (reader, writer) = crate::fd::pipe().unwrap();
        send(a.as_fd(), b"take this", Some(writer.as_fd())).unwrap();
        drop(writer);
        let mut buffer = [0; 64];
        let (length, passed) = receive(b.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"take this");
        nix::unistd::write(passed.unwrap(), b"x").unwrap();
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(!is_abandoned(b.as_fd()));
        drop(a);
        assert!(is_abandoned(b.as_fd()));
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn descriptors_keep_their_place_in_a_stream() {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let ends: Vec<OwnedFd> = (0..3).map(|_| crate::fd::pipe().unwrap().1).collect();
        assert_eq!(write(a.as_fd(), b"none ", &[]).unwrap(), 5);
        assert_eq!(write(a.as_fd(), b"two ", &[ends[0].as_fd(), ends[1].as_fd()]).unwrap(), 4);
        assert_eq!(write(a.as_fd(), b"one", &[ends[2].as_fd()]).unwrap(), 3);
        drop(a);
        let (mut bytes, mut passed) = (Vec::new(), VecDeque::new());
        let mut buffer = [0; 64];
        loop {
            match read(b.as_fd(), &mut buffer, &mut passed).unwrap() {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(bytes, b"none two one");
        let inode = |fd: &OwnedFd| crate::fd::identity(fd).unwrap().inode;
        let (sent, got): (Vec<_>, Vec<_>) =
            (ends.iter().map(inode).collect(), passed.iter().map(inode).collect());
        assert_eq!(sent, got);
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let path = std::env::temp_dir().join(format!("corten-sys-socket-{}", std::process::id()));
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        let peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(peer_uid(accepted.as_fd()).unwrap(), nix::unistd::geteuid().as_raw());
        assert_eq!(peer_pid(accepted.as_fd()).unwrap(), std::process::id().cast_signed());
        drop(peer);
        std::fs::remove_file(path).unwrap();
    }
}
