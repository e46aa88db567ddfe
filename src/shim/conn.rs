//! A connection to a daemon: frames in, frames out, never waiting.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use sys::fd::errno;
use sys::socket;
use wire::frame::{Asked, FrameDecoder};

/// With so much waiting for a daemon that is slow to read, no more requests are taken from it.
const CLOGGED: usize = 32 << 20;
/// What may wait for a daemon that does not read: room for the answers of many execs that ran when the
/// connection clogged, each up to 16 MiB on either output.
const BACKLOG: usize = 256 << 20;

/// What reading has brought.
pub(crate) struct Received {
    /// Whole requests.
    pub(crate) requests: Vec<Asked>,
    /// The connection is at its end, or does not speak the protocol.
    pub(crate) closed: bool,
}

/// One daemon.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: UnixStream,
    decoder: FrameDecoder,
    /// Frames that wait to be written, with the descriptors that travel with them.
    backlog: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Bytes of the first of them that are written.
    sent: usize,
    /// Bytes in `backlog` that are not written.
    waiting: usize,
    /// It has said hello: events are for it.
    pub(crate) greeted: bool,
}

impl Conn {
    /// Over a non-blocking stream.
    pub(crate) fn new(stream: UnixStream) -> Self {
        let decoder = FrameDecoder::with_limit(wire::REQUEST_LIMIT);
        Self { stream, decoder, backlog: VecDeque::new(), sent: 0, waiting: 0, greeted: false }
    }

    /// Reads what is there, into the shared buffer first.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let mut received = Received { requests: Vec::new(), closed: false };
        loop {
            let mut bytes = [].as_slice();
            match self.stream.read(buffer) {
                Ok(0) => received.closed = true,
                Ok(count) => bytes = buffer.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => received.closed = true,
            }
            loop {
                match self.decoder.next_request(&mut bytes) {
                    Ok(Some(asked)) => received.requests.push(asked),
                    Ok(None) => break,
                    Err(_) => {
                        received.closed = true;
                        break;
                    }
                }
            }
            if received.closed {
                break;
            }
        }
        received
    }

    /// Sends a frame now or later; `false` when the connection is of no use any more.
    pub(crate) fn send(&mut self, frame: Vec<u8>, passed: Vec<OwnedFd>) -> bool {
        if self.waiting + frame.len() > BACKLOG {
            return false;
        }
        self.waiting += frame.len();
        self.backlog.push_back((frame, passed));
        self.flush()
    }

    /// Writes as much as the socket takes; `false` when it is broken.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some((frame, passed)) = self.backlog.front() {
            let rest = frame.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                self.backlog.pop_front();
                self.sent = 0;
                continue;
            }
            let passed: Vec<BorrowedFd<'_>> =
                passed.iter().filter(|_| self.sent == 0).map(AsFd::as_fd).collect();
            match socket::write(self.stream.as_fd(), rest, &passed) {
                Ok(count) => {
                    self.sent += count;
                    self.waiting -= count;
                }
                Err(error) if error.errno == errno::EINTR => {}
                Err(error) if error.errno == errno::EAGAIN => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Something waits to be written.
    pub(crate) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// So much waits that no more requests are to be taken.
    pub(crate) fn is_clogged(&self) -> bool {
        self.waiting > CLOGGED
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn pair() -> (Conn, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Conn::new(ours), theirs)
    }

    fn read(stream: &mut UnixStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_slow_reader_gets_many_large_answers_whole_and_in_order() {
        const SIZE: usize = 14 << 20;
        let (mut conn, mut theirs) = pair();
        for number in 0..8 {
            assert!(conn.send(vec![number; SIZE], Vec::new()));
        }
        assert!(conn.is_behind() && conn.is_clogged());
        for number in 0..8 {
            for _ in 0..SIZE >> 15 {
                assert!(read(&mut theirs, 1 << 15).iter().all(|byte| *byte == number));
                assert!(conn.flush());
            }
        }
        assert!(!conn.is_behind() && !conn.is_clogged());
        assert_eq!((conn.waiting, conn.backlog.capacity() < 64), (0, true));
    }

    #[test]
    fn a_daemon_that_never_reads_is_given_up() {
        let (mut conn, _theirs) = pair();
        // Untouched zeros take no memory.
        let sent = (0..40).take_while(|_| conn.send(vec![0; 16 << 20], Vec::new())).count();
        assert_eq!(sent, 16);
    }
}
