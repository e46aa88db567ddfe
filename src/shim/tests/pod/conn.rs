//! A daemon's connection.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use wire::frame::{Body, FrameDecoder};
use wire::msg::{ContainerSnapshot, Event, ExitRecord, Reply, Request};

/// A shim that says nothing for so long says nothing any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Conn {
    stream: UnixStream,
    decoder: FrameDecoder,
    next: u64,
    replies: HashMap<u64, Reply>,
    exits: HashMap<String, ExitRecord>,
    passed: VecDeque<OwnedFd>,
    opened: HashMap<u64, Vec<OwnedFd>>,
}

impl Conn {
    pub(crate) fn open(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self {
            stream,
            decoder: FrameDecoder::new(),
            next: 1,
            replies: HashMap::new(),
            exits: HashMap::new(),
            passed: VecDeque::new(),
            opened: HashMap::new(),
        }
    }

    pub(crate) fn send(&mut self, request: &Request) -> u64 {
        let id = self.next;
        self.next += 1;
        self.stream.write_all(&wire::frame::request(id, request)).unwrap();
        id
    }

    /// The same for a frame of somebody else's making.
    pub(crate) fn send_frame(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn pump(&mut self, since: Instant) {
        assert!(since.elapsed() < PATIENCE, "the shim does not answer");
        let mut buffer = [0; 65536];
        match sys::socket::read(self.stream.as_fd(), &mut buffer, &mut self.passed) {
            Ok(0) => panic!("the shim has hung up"),
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) if error.errno == sys::fd::errno::EAGAIN => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(frame) = self.decoder.next_frame().unwrap() {
            match frame.body {
                Body::Reply(reply) => {
                    if let Reply::Opened { descriptors, .. } = reply {
                        let count = usize::try_from(descriptors).unwrap();
                        self.opened.insert(frame.id, self.passed.drain(..count).collect());
                    }
                    self.replies.insert(frame.id, reply);
                }
                Body::Event(Event::Exited(record)) => drop(self.exits.insert(record.id.clone(), record)),
                Body::Request(_) => panic!("the shim asks"),
            }
        }
    }

    pub(crate) fn wait(&mut self, id: u64) -> Reply {
        let since = Instant::now();
        loop {
            if let Some(reply) = self.replies.remove(&id) {
                return reply;
            }
            self.pump(since);
        }
    }

    /// Asks for streams: the number of what was opened, and its descriptors.
    pub(crate) fn open_streams(&mut self, request: &Request) -> (u64, Vec<OwnedFd>) {
        let id = self.send(request);
        match self.wait(id) {
            Reply::Opened { number, .. } => (number, self.opened.remove(&id).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        let id = self.send(request);
        self.wait(id)
    }

    pub(crate) fn has_reply(&mut self, id: u64) -> bool {
        self.pump(Instant::now());
        self.replies.contains_key(&id)
    }

    pub(crate) fn exit(&mut self, id: &str) -> ExitRecord {
        let since = Instant::now();
        loop {
            if let Some(record) = self.exits.remove(id) {
                return record;
            }
            self.pump(since);
        }
    }

    pub(crate) fn hello(&mut self) -> Vec<ContainerSnapshot> {
        match self.ask(&Request::Hello) {
            Reply::Hello { version, containers, .. } => {
                assert_eq!(version, wire::VERSION);
                containers
            }
            other => panic!("{other:?}"),
        }
    }
}
