//! A netlink socket: sends a batch of messages in one system call and gathers what the kernel answers.

use super::message::{Writer, messages, read_u32};
use crate::sync::lock;
use crate::{SysError, SysResult};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, recvmsg, send,
    setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const REQUEST: u16 = 0x1;
const MULTI: u16 = 0x2;
pub(crate) const ACK: u16 = 0x4;
const DUMP_INTERRUPTED: u16 = 0x10;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;

const MSG_NOOP: u16 = 1;
const MSG_ERROR: u16 = 2;
const MSG_DONE: u16 = 3;

/// The kernel builds dumps in pieces of at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// The kernel answers within the system call; only a broken one would let a caller wait.
const ANSWER_SECONDS: i64 = 10;
const INTERRUPTED_DUMPS: usize = 8;
/// The port of the kernel.
const KERNEL: u32 = 0;

/// A message that the kernel sent in answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The place of the request in its batch.
    pub request: usize,
    /// Its type, such as `RTM_NEWLINK`.
    pub kind: u16,
    /// What follows the netlink header.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct Request {
    offset: usize,
    op: &'static str,
    what: String,
    tolerated: i32,
    acked: bool,
}

/// Messages that are sent together, in order.
#[derive(Debug, Default)]
pub struct Batch {
    writer: Writer,
    requests: Vec<Request>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it has no message.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Appends a message. `op` and `what` name it should it fail.
    pub(crate) fn message(
        &mut self,
        (op, what): (&'static str, &str),
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) -> &mut Self {
        self.requests.push(Request {
            offset: self.writer.len(),
            op,
            what: what.to_owned(),
            tolerated: 0,
            acked: flags & (ACK | DUMP) != 0,
        });
        self.writer.message(kind, flags | REQUEST, body);
        self
    }

    /// Takes this error number of the message appended last as success. `EINTR` stands for a list that changed while it was
    /// read: it may lack what has come or gone meanwhile.
    pub fn tolerate(&mut self, errno: i32) -> &mut Self {
        if let Some(last) = self.requests.last_mut() {
            last.tolerated = errno;
        }
        self
    }
}

/// A netlink socket. It stays in the network namespace in which it was made.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    turn: Mutex<Vec<u8>>,
    seq: AtomicU32,
}

impl Socket {
    /// A socket for links, addresses, routes and neighbours of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn route() -> SysResult<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// A socket for nf_tables and connection tracking of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn netfilter() -> SysResult<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    /// A socket that tells of sockets of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn diagnostics() -> SysResult<Self> {
        Self::open(SockProtocol::NetlinkSockDiag)
    }

    fn open(protocol: SockProtocol) -> SysResult<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(SysError::nix("socket", "netlink"))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(SysError::nix("bind", "netlink"))?;
        // Connected to the kernel: what another process sends to this socket is refused there.
        connect(fd.as_raw_fd(), &NetlinkAddr::new(KERNEL, 0)).map_err(SysError::nix("connect", "netlink"))?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))
            .map_err(SysError::nix("setsockopt", "netlink"))?;
        cap_acks(&fd);
        Ok(Self { fd, turn: Mutex::new(Vec::new()), seq: AtomicU32::new(1) })
    }

    /// A number that no other network namespace of this boot has (0 before Linux 5.14).
    pub fn netns_cookie(&self) -> u64 {
        let mut cookie = 0u64;
        let mut len: libc::socklen_t = 8;
        // SAFETY: the descriptor is open, and the kernel writes at most `len` bytes to `cookie`.
        let code = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut len,
            )
        };
        if code == 0 { cookie } else { 0 }
    }

    /// Sends the batch and returns what the kernel answered besides acknowledgements.
    ///
    /// # Errors
    /// The first message that failed with an error that it does not tolerate. rtnetlink carries out the
    /// messages after it all the same; nf_tables carries out all or nothing.
    pub fn run(&self, batch: &mut Batch) -> SysResult<Vec<Reply>> {
        let mut interrupted = None;
        for _ in 0..INTERRUPTED_DUMPS {
            match self.exchange(batch) {
                Err(error) if error.errno == libc::EINTR => interrupted = Some(error),
                result => return result,
            }
        }
        Err(interrupted.unwrap_or_else(|| SysError::new("dump", "netlink", libc::EINTR)))
    }

    fn exchange(&self, batch: &mut Batch) -> SysResult<Vec<Reply>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut buffer = lock(&self.turn);
        buffer.resize(RECEIVE_BUFFER, 0);
        let count = u32::try_from(batch.requests.len()).unwrap_or(u32::MAX);
        let first = self.seq.fetch_add(count, Ordering::Relaxed);
        for (seq, request) in (first..).zip(&batch.requests) {
            let at = request.offset + 8;
            batch.writer.bytes_mut()[at..at + 4].copy_from_slice(&seq.to_ne_bytes());
        }
        let sent = send(self.fd.as_raw_fd(), batch.writer.bytes(), MsgFlags::empty());
        sent.map_err(|errno| batch.error(0, errno as i32))?;
        self.gather(batch, first, &mut buffer)
    }

    /// Reads until every request that has an answer to expect has got it.
    fn gather(&self, batch: &Batch, first: u32, buffer: &mut [u8]) -> SysResult<Vec<Reply>> {
        let mut answers = Answers {
            replies: Vec::new(),
            open: batch.requests.iter().map(|request| request.acked).collect(),
            failed: None,
        };
        while answers.open.contains(&true) {
            let flags = if answers.failed.is_some() { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
            let received = match receive(&self.fd, buffer, flags) {
                Ok((received, true)) => received,
                // From another process: no answer, whatever it says.
                Ok((_, false)) | Err(Errno::EINTR) => continue,
                Err(_) if answers.failed.is_some() => break,
                Err(Errno::EAGAIN) => return Err(SysError::new("receive", "netlink", libc::ETIMEDOUT)),
                Err(errno) => return Err(SysError::new("receive", "netlink", errno as i32)),
            };
            let Some(datagram) = buffer.get(..received) else {
                return Err(SysError::new("receive", "netlink", libc::EMSGSIZE));
            };
            answers.take(batch, first, datagram);
        }
        match answers.failed {
            Some(error) => Err(error),
            None => Ok(answers.replies),
        }
    }
}

/// Receives a datagram: its whole length, which may be more than fits, and whether the kernel has sent it.
fn receive(fd: &OwnedFd, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<(usize, bool)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<NetlinkAddr>(fd.as_raw_fd(), &mut parts, None, flags | MsgFlags::MSG_TRUNC)?;
    Ok((message.bytes, message.address.is_some_and(|sender| sender.pid() == KERNEL)))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct Answers {
    replies: Vec<Reply>,
    open: Vec<bool>,
    failed: Option<SysError>,
}

impl Answers {
    fn take(&mut self, batch: &Batch, first: u32, datagram: &[u8]) {
        for message in messages(datagram) {
            let Some(request) = usize::try_from(message.seq.wrapping_sub(first))
                .ok()
                .filter(|request| *request < batch.requests.len())
            else {
                continue;
            };
            let is_interrupted = message.flags & MULTI != 0 && message.flags & DUMP_INTERRUPTED != 0;
            if is_interrupted && batch.requests[request].tolerated != libc::EINTR {
                self.fail(batch.error(request, libc::EINTR));
            }
            match message.kind {
                MSG_NOOP => {}
                MSG_ERROR | MSG_DONE => {
                    self.open[request] = false;
                    let code = message.body.get(..4).and_then(read_u32).unwrap_or(0);
                    let errno = code.wrapping_neg().cast_signed();
                    if errno != 0 && errno != batch.requests[request].tolerated {
                        self.fail(batch.error(request, errno));
                    }
                }
                kind => self.replies.push(Reply { request, kind, body: message.body.to_vec() }),
            }
        }
    }

    fn fail(&mut self, error: SysError) {
        self.failed.get_or_insert(error);
    }
}

impl Batch {
    fn error(&self, request: usize, errno: i32) -> SysError {
        match self.requests.get(request) {
            Some(request) => SysError { op: request.op, path: PathBuf::from(&request.what), errno },
            None => SysError::new("send", "netlink", errno),
        }
    }
}

/// Acknowledgements without a copy of the request; kernels before 4.3 send it, and it is skipped.
fn cap_acks(fd: &OwnedFd) {
    let on: libc::c_int = 1;
    let size = u32::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the descriptor is open, and the kernel reads `size` bytes of `on`.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_CAP_ACK,
            (&raw const on).cast(),
            size,
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
