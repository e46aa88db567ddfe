#![allow(clippy::unwrap_used)]

use super::*;
use http::StatusCode;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(60);
const FEW: usize = 4;

/// `/wait` is in work until it is let go; all else is answered at once.
struct Slow {
    go: Semaphore,
    waiting: AtomicUsize,
}

impl Site for Slow {
    type Peer = ();

    async fn answer(&self, request: Request<Incoming>, (): &()) -> Response<Body> {
        if request.uri().path() == "/wait" {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            if let Ok(permit) = self.go.acquire().await {
                permit.forget();
            }
        }
        plain(StatusCode::OK, "done")
    }
}

struct Served {
    address: SocketAddr,
    site: Arc<Slow>,
    stop: CancellationToken,
}

impl Served {
    /// Waits until so many requests are in work.
    async fn works(&self, count: usize) {
        let since = Instant::now();
        while self.site.waiting.load(Ordering::Relaxed) < count {
            assert!(since.elapsed() < SOON);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn start(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (site, stop) =
        (Arc::new(Slow { go: Semaphore::new(0), waiting: AtomicUsize::new(0) }), CancellationToken::new());
    tokio::spawn(serve(listener, site.clone(), limits, stop.clone()));
    Served { address, site, stop }
}

fn few() -> Limits {
    Limits { connections: FEW, fresh: Duration::from_millis(20), head: SOON, whole: SOON }
}

async fn ask(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may hang up before it has read everything.
    let _ = stream.write_all(text.as_bytes()).await;
    stream
}

async fn hear(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut said)).await.unwrap();
    String::from_utf8(said).unwrap()
}

const LAST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

async fn is_answered(address: SocketAddr) {
    let said = hear(ask(address, LAST).await).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("done\n"), "{said}");
}

#[tokio::test]
async fn slow_clients_hold_nobody_up() {
    let served = start(few()).await;
    let begin = Instant::now();
    let mut slow = Vec::new();
    for round in 0..4 * FEW {
        // Some stop in the middle of a request, others never read what they ask for.
        let text = if round % 2 == 0 {
            "GET / HTT".to_owned()
        } else {
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3)
        };
        slow.push(ask(served.address, &text).await);
        is_answered(served.address).await;
    }
    assert!(begin.elapsed() < SOON / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_request_in_work_is_cut_off_by_nobody() {
    let served = start(few()).await;
    let mut working = Vec::new();
    for _ in 0..FEW - 1 {
        working.push(ask(served.address, WAIT).await);
    }
    served.works(FEW - 1).await;
    for _ in 0..2 * FEW {
        let _idle = ask(served.address, "GET").await;
        is_answered(served.address).await;
    }
    // All places are in work: who comes now waits for one of them.
    working.push(ask(served.address, WAIT).await);
    served.works(FEW).await;
    let late = ask(served.address, LAST).await;
    served.site.go.add_permits(FEW);
    for stream in working {
        assert!(hear(stream).await.ends_with("done\n"));
    }
    assert!(hear(late).await.ends_with("done\n"));
}

#[tokio::test]
async fn silent_clients_are_cut_off() {
    let served = start(Limits { head: Duration::from_millis(200), ..few() }).await;
    assert_eq!(hear(ask(served.address, "GET / HTT").await).await, "");
    assert_eq!(hear(ask(served.address, "").await).await, "");
}

#[tokio::test]
async fn a_connection_has_its_time_and_work_has_as_much_as_it_takes() {
    let limits = Limits { head: Duration::from_millis(200), whole: Duration::from_millis(200), ..few() };
    let served = start(limits).await;
    let working = ask(served.address, &WAIT.replace("Connection: close\r\n", "")).await;
    let mut chatty = TcpStream::connect(served.address).await.unwrap();
    let mut ended = false;
    for _ in 0..500 {
        let sent = chatty.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut said = [0; 1024];
        ended = sent.is_err() || chatty.read(&mut said).await.unwrap_or(0) == 0;
        if ended {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ended, "it goes on for ever");
    served.site.go.add_permits(1);
    assert!(hear(working).await.ends_with("done\n"));
}

#[tokio::test]
async fn oversized_heads_and_garbage_are_refused() {
    let served = start(few()).await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(1000));
    for (text, status) in [(long.as_str(), "431"), (&many, "431"), ("\0\u{1}\u{2}nonsense\r\n\r\n", "400")] {
        let said = hear(ask(served.address, text).await).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
    }
    is_answered(served.address).await;
}

#[tokio::test]
async fn a_site_that_stops_takes_nobody_and_ends_what_it_has() {
    let served = start(few()).await;
    let working = ask(served.address, WAIT).await;
    served.works(1).await;
    is_answered(served.address).await;
    served.stop.cancel();
    let since = Instant::now();
    while TcpStream::connect(served.address).await.is_ok() {
        assert!(since.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served.site.go.add_permits(1);
    assert!(hear(working).await.ends_with("done\n"));
}
