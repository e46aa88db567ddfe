#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::frame::{Event, tests::open};
use super::super::headers::tests::Deflater;
use super::*;
use crate::bounds::Bounds;
use crate::socket::Watch;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

/// The other side of a connection.
struct Peer {
    stream: DuplexStream,
    deflater: Deflater,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Peer {
    fn new(stream: DuplexStream) -> Self {
        Self { stream, deflater: Deflater::new(), decoder: Decoder::new(), unread: Vec::new() }
    }

    async fn open(&mut self, id: u32, kind: &str) {
        let frame = open(&mut self.deflater, id, false, &[("streamtype", kind)]);
        self.send(&frame).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// What it is told next, but for windows and replies; data with its bytes. `None` at the end.
    async fn hear(&mut self) -> Option<(Event, Vec<u8>)> {
        loop {
            let mut at = 0;
            let event = self.decoder.next(&self.unread, &mut at).unwrap();
            let said = event.map(|event| match event {
                Event::Data { id, bytes } => (Event::Data { id, bytes: 0..0 }, self.unread[bytes].to_vec()),
                event => (event, Vec::new()),
            });
            self.unread.drain(..at);
            if said.is_some() {
                return said;
            }
            let mut buffer = [0; 4096];
            match timeout(SOON, self.stream.read(&mut buffer)).await.expect("nothing is said").unwrap() {
                0 => return None,
                count => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

fn pair() -> (Peer, Link, mpsc::Receiver<News>) {
    pair_with(&CancellationToken::new(), Bounds::default().forwarding())
}

fn pair_with(gone: &CancellationToken, terms: Terms) -> (Peer, Link, mpsc::Receiver<News>) {
    let (client, server) = duplex(1 << 16);
    let Served { link, news } = serve(server, Side { watch: Watch::Around(gone.clone()), terms });
    (Peer::new(client), link, news)
}

async fn news(streams: &mut mpsc::Receiver<News>) -> News {
    timeout(SOON, streams.recv()).await.expect("no news").expect("the connection is over")
}

async fn next(streams: &mut mpsc::Receiver<News>) -> Incoming {
    loop {
        if let News::Opened(stream) = news(streams).await {
            return stream;
        }
    }
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_end_one_by_one() {
    let (mut peer, link, mut streams) = pair();
    peer.open(1, "stdin").await;
    peer.open(3, "stdout").await;
    let (mut stdin, stdout) = (next(&mut streams).await, next(&mut streams).await);
    assert_eq!(stdout.headers.get("streamtype"), Some("stdout"));
    peer.send(&frame::data(1, false, b"hello")).await;
    peer.send(&frame::data(1, true, b"")).await;
    assert_eq!(stdin.reader.next().await.as_deref(), Some(&b"hello"[..]));
    assert_eq!(stdin.reader.next().await, None);
    stdout.writer.write(b"world").await.unwrap();
    stdout.writer.finish().await;
    assert_eq!(peer.hear().await.unwrap(), (Event::Data { id: 3, bytes: 0..0 }, b"world".to_vec()));
    assert_eq!(peer.hear().await.unwrap().0, Event::Finished(3));
    peer.send(&frame::ping(5)).await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Ping(5));
    drop((stdin, stdout, streams));
    let closed = tokio::spawn(link.close());
    assert_eq!(peer.hear().await.unwrap().0, Event::GoAway);
    assert_eq!(peer.hear().await, None);
    drop(peer);
    timeout(SOON, closed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_breaks_a_rule_ends_alone() {
    let (mut peer, _link, mut streams) = pair();
    peer.open(1, "data").await;
    peer.open(3, "data").await;
    let (mut broken, mut fine) = (next(&mut streams).await, next(&mut streams).await);
    let mut oversized = frame::data(1, false, &[]);
    oversized[5..8].copy_from_slice(&(frame::MAX_DATA + 1).to_be_bytes()[1..]);
    peer.send(&oversized).await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(1));
    assert_eq!(broken.reader.next().await, None);
    assert!(broken.writer.is_reset() && broken.writer.write(b"x").await.is_err());
    let zeros = vec![0; 1 << 16];
    for _ in 0..(frame::MAX_DATA >> 16) {
        peer.send(&zeros).await;
    }
    peer.send(&[0]).await;
    peer.open(2, "data").await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(2), "a number of ours");
    peer.open(1, "data").await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(1), "a number that is used");
    peer.send(&frame::data(3, false, b"still here")).await;
    assert_eq!(fine.reader.next().await.as_deref(), Some(&b"still here"[..]));
}

#[tokio::test]
async fn streams_are_bounded_and_closed_ones_make_room() {
    let (mut peer, _link, mut streams) = pair();
    let most = u32::try_from(MAX_STREAMS).unwrap();
    let mut held = Vec::new();
    for number in 0..most {
        peer.open(2 * number + 1, "data").await;
        held.push(next(&mut streams).await);
    }
    peer.open(2 * most + 1, "data").await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(2 * most + 1));
    held.clear();
    peer.open(2 * most + 3, "data").await;
    assert_eq!(next(&mut streams).await.id, 2 * most + 3);
}

#[tokio::test]
async fn streams_that_are_reset_count_until_they_are_let_go_of() {
    let (mut peer, _link, mut streams) = pair();
    let mut held = Vec::new();
    let most = u32::try_from(MAX_STREAMS).unwrap();
    for number in 0..most {
        peer.open(2 * number + 1, "data").await;
        peer.send(&frame::reset(2 * number + 1, Reset::Cancel)).await;
        held.push(next(&mut streams).await);
        assert!(matches!(news(&mut streams).await, News::Reset(id) if id == 2 * number + 1));
    }
    assert!(held.iter().all(|stream| stream.writer.is_reset()));
    peer.open(2 * most + 1, "data").await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(2 * most + 1));
    held.clear();
    peer.open(2 * most + 3, "data").await;
    assert_eq!(next(&mut streams).await.id, 2 * most + 3);
}

#[tokio::test]
async fn streams_that_nobody_looks_at_hold_their_client_up() {
    let (mut peer, _link, streams) = pair();
    let flood = async {
        for number in 0..100_000 {
            peer.open(2 * number + 1, "data").await;
            peer.send(&frame::reset(2 * number + 1, Reset::Cancel)).await;
        }
    };
    assert!(timeout(Duration::from_millis(300), flood).await.is_err());
    assert_eq!(streams.len(), WAITING);
}

#[tokio::test]
async fn streams_of_all_connections_are_bounded() {
    let terms = Bounds::default().forwarding();
    let all = terms.streams.available_permits();
    let taken = terms.streams.clone().acquire_many_owned(u32::try_from(all - 1).unwrap()).await.unwrap();
    let (mut peer, _link, mut streams) = pair_with(&CancellationToken::new(), terms);
    peer.open(1, "data").await;
    let first = next(&mut streams).await;
    peer.open(3, "data").await;
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(3));
    drop((first, taken));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let (mut peer, _link, mut streams) = pair();
    for id in [1, 3, 5] {
        peer.open(id, "data").await;
    }
    let (stuck, mut fine) = (next(&mut streams).await, next(&mut streams).await);
    let piece = [0; 32 << 10];
    for _ in 0..(40 << 20) / piece.len() {
        peer.send(&frame::data(1, false, &piece)).await;
    }
    peer.send(&frame::data(3, false, b"hello")).await;
    assert_eq!(timeout(SOON, fine.reader.next()).await.unwrap().as_deref(), Some(&b"hello"[..]));
    assert!(stuck.writer.is_reset());
    timeout(SOON, stuck.writer.was_reset()).await.unwrap();
    assert_eq!(peer.hear().await.unwrap().0, Event::Reset(1));
}

#[tokio::test(start_paused = true)]
async fn a_lone_stream_that_nobody_reads_holds_up_no_new_one() {
    let (mut peer, _link, mut streams) = pair();
    peer.open(1, "error").await;
    peer.open(3, "data").await;
    let (_error, stuck) = (next(&mut streams).await, next(&mut streams).await);
    let begin = tokio::time::Instant::now();
    let piece = [0; 32 << 10];
    for _ in 0..(64 << 20) / piece.len() {
        peer.send(&frame::data(3, false, &piece)).await;
    }
    peer.open(5, "error").await;
    assert_eq!(next(&mut streams).await.id, 5);
    assert!(begin.elapsed() < PAUSE / 3, "{:?}", begin.elapsed());
    assert!(stuck.writer.is_reset());
}

#[tokio::test(start_paused = true)]
async fn a_large_upload_may_pause() {
    let (mut peer, _link, mut streams) = pair();
    peer.open(1, "error").await;
    peer.open(3, "data").await;
    let (_error, mut stream) = (next(&mut streams).await, next(&mut streams).await);
    let (piece, pieces) = ([0; 32 << 10], (128 << 20) / (32 << 10));
    let send = async {
        for _ in 0..pieces {
            peer.send(&frame::data(3, false, &piece)).await;
        }
        peer
    };
    let read = async {
        let mut count = 0;
        while count < pieces * piece.len() {
            if count == 60 << 20 {
                tokio::time::sleep(PAUSE / 2).await;
            }
            count += stream.reader.next().await.map_or(0, |piece| piece.len());
            assert!(!stream.writer.is_reset(), "after {count} bytes");
        }
    };
    tokio::join!(send, read);
}

#[tokio::test]
async fn who_leaves_while_a_command_reads_nothing_is_noticed() {
    let gone = CancellationToken::new();
    let (mut peer, link, mut streams) = pair_with(&gone, Bounds::default().command());
    peer.open(1, "stdin").await;
    let _stuck = next(&mut streams).await;
    let flood = async {
        loop {
            peer.send(&frame::data(1, false, &[0; 32 << 10])).await;
        }
    };
    assert!(timeout(Duration::from_secs(2), async { tokio::join!(flood, link.left()) }).await.is_err());
    gone.cancel();
    timeout(SOON, link.left()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_a_rule_is_told_and_ends() {
    let (mut peer, link, mut streams) = pair();
    peer.open(1, "data").await;
    peer.send(&[0x80, 9, 0, 1, 0, 0, 0, 0]).await;
    timeout(SOON, link.left()).await.unwrap();
    drop(next(&mut streams).await);
    assert!(streams.recv().await.is_none());
    drop(tokio::spawn(link.close()));
    assert_eq!(peer.hear().await.unwrap().0, Event::GoAway);
    assert_eq!(peer.hear().await, None);
}

#[tokio::test]
async fn who_leaves_without_a_word_is_noticed() {
    let (peer, link, mut streams) = pair();
    drop(peer);
    assert_eq!(timeout(SOON, link.lost(SOON * 2)).await.unwrap(), "the client has left");
    assert!(streams.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn silence_on_both_sides_ends_a_connection() {
    let (mut peer, link, mut streams) = pair();
    peer.open(1, "stdout").await;
    let stream = next(&mut streams).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        stream.writer.write(b"x").await.unwrap();
    }
    let lost = timeout(Duration::from_secs(60), link.lost(Duration::from_secs(10))).await;
    assert_eq!(lost, Ok("nothing was said for too long"));
}

#[tokio::test]
async fn ten_thousand_failing_connections_leave_no_task() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let bad: [&[u8]; 4] =
        [b"garbage that is no frame", &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], &[0x80, 3], b""];
    for round in 0..10_000 {
        let (mut peer, link, streams) = pair();
        peer.send(bad[round % bad.len()]).await;
        drop(peer);
        timeout(SOON, link.left()).await.unwrap();
        drop((link, streams));
    }
    for _ in 0..3000 {
        if alive() <= before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} tasks are left, of {before}", alive());
}
