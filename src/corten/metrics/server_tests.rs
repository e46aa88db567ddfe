//! The endpoint, talked to over sockets.
#![allow(clippy::unwrap_used)]

use super::*;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

const CONNECTIONS: usize = 32;

fn at(address: MetricsAddress) -> Metrics {
    Metrics { address, ..Metrics::default() }
}

async fn start() -> (SocketAddr, Arc<Health>, JoinHandle<()>) {
    start_with(Limits::default()).await
}

async fn start_with(limits: Limits) -> (SocketAddr, Arc<Health>, JoinHandle<()>) {
    let any = at(MetricsAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
    let endpoint = Endpoint::open(&any).await.unwrap().unwrap();
    let address = endpoint.place().parse().unwrap();
    let health = Arc::new(Health::default());
    let registry = crate::metrics::registry().unwrap();
    let task = tokio::spawn(endpoint.serve(registry, health.clone(), limits));
    (address, health, task)
}

async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The endpoint may hang up before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8(reply).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    talk(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let (address, health, task) = start().await;
    let reply = get(address, "/metrics").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(reply.contains("content-type: text/plain; version=0.0.4"), "{reply}");
    assert!(reply.contains("\nprocess_cpu_seconds_total "), "{reply}");
    assert!(reply.contains("corten_build_info{commit="), "{reply}");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 503"));
    health.set_serving(true);
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(talk(address, post).await.starts_with("HTTP/1.1 405"));
    task.abort();
}

#[tokio::test]
async fn a_socket_path_is_served_too() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("metrics.sock");
    let endpoint = Endpoint::open(&at(MetricsAddress::Unix(path.clone()))).await.unwrap().unwrap();
    let registry = crate::metrics::registry().unwrap();
    let task = tokio::spawn(endpoint.serve(registry, Arc::default(), Limits::default()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("process_open_fds"), "{reply}");
    task.abort();
}

#[tokio::test]
async fn oversized_heads_and_garbage_are_refused() {
    let (address, _, task) = start().await;
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert!(talk(address, &long).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(1000));
    assert!(talk(address, &many).await.starts_with("HTTP/1.1 431"));
    assert!(talk(address, "\0\u{1}\u{2}nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
    task.abort();
}

#[tokio::test]
async fn slow_clients_hold_nobody_up_and_are_cut_off() {
    let (head, connection) = (Duration::from_secs(60), Duration::from_secs(60));
    let fresh = Duration::from_millis(20);
    let limits = Limits { connections: CONNECTIONS, fresh, head, whole: connection };
    let (address, _, task) = start_with(limits).await;
    let begin = Instant::now();
    let mut slow = Vec::new();
    for round in 0..4 * CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Some stop in the middle of a request, others never read what they ask for.
        let request: &[u8] = match round % 2 {
            0 => b"GET /metrics HTT",
            _ => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(request).await.unwrap();
        slow.push(stream);
        let reply = get(address, "/healthz").await;
        assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    }
    assert!(begin.elapsed() < head, "{:?}", begin.elapsed());
    let mut rest = Vec::new();
    // By a reset, where it had sent something.
    let _ = slow[0].read_to_end(&mut rest).await;
    task.abort();
}

/// A metric that is not to be had until the sender is gone.
struct Stuck {
    gauge: prometheus::IntGauge,
    gate: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl prometheus::core::Collector for Stuck {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        let _ = self.gate.lock().unwrap().recv();
        self.gauge.collect()
    }
}

#[tokio::test]
async fn scrapes_that_wait_leave_room_for_questions_about_health() {
    let any = at(MetricsAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
    let endpoint = Endpoint::open(&any).await.unwrap().unwrap();
    let address: SocketAddr = endpoint.place().parse().unwrap();
    let (holds, gate) = std::sync::mpsc::channel();
    let registry = Registry::new();
    let gauge = prometheus::IntGauge::new("stuck", "stuck").unwrap();
    registry.register(Box::new(Stuck { gauge, gate: gate.into() })).unwrap();
    let limits = Limits { connections: CONNECTIONS, fresh: Duration::from_millis(20), ..Limits::default() };
    let task = tokio::spawn(endpoint.serve(registry, Arc::default(), limits));
    let scrapes: Vec<_> =
        (0..2 * CONNECTIONS).map(|_| tokio::spawn(async move { get(address, "/metrics").await })).collect();
    let refused = async {
        while scrapes.iter().filter(|scrape| !scrape.is_finished()).count() > WAITING {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, refused).await.unwrap();
    let health = tokio::time::timeout(patience, get(address, "/healthz")).await.unwrap();
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("not serving"), "{health}");
    drop(holds);
    let mut served = 0;
    for scrape in scrapes {
        let reply = scrape.await.unwrap();
        if reply.starts_with("HTTP/1.1 200") {
            served += 1;
        } else {
            assert!(reply.starts_with("HTTP/1.1 503") && reply.contains("retry-after: 5"), "{reply}");
        }
    }
    assert_eq!(served, WAITING);
    task.abort();
}

#[tokio::test]
async fn silent_clients_are_cut_off() {
    let (head, connection) = (Duration::from_millis(300), Duration::from_secs(60));
    let (address, _, task) = start_with(Limits { head, whole: connection, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTT").await.unwrap();
    let begin = Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    task.abort();
}

#[tokio::test]
async fn a_client_that_never_lets_go_is_cut_off() {
    let (head, connection) = (Duration::from_secs(60), Duration::from_millis(300));
    let (address, _, task) = start_with(Limits { head, whole: connection, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut ended = false;
    for _ in 0..100 {
        let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut reply = [0; 1024];
        ended = sent.is_err() || stream.read(&mut reply).await.unwrap_or(0) == 0;
        if ended {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ended);
    task.abort();
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_the_setting() {
    let (address, _, task) = start().await;
    let error = Endpoint::open(&at(MetricsAddress::Tcp(address))).await.err().unwrap().to_string();
    assert!(error.contains("metrics.address") && error.contains(&address.to_string()), "{error}");
    task.abort();
}
