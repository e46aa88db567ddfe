//! A hundred networked pods, each with a host port and a running, logging container, 16 requests in flight.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::client::Cri;
use e2e::http::Request;
use e2e::pods::{shell, with_host_port};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const PODS: usize = 100;
const IN_FLIGHT: usize = 16;
const FIRST_PORT: usize = 32_000;

#[derive(Debug, Clone)]
struct Made {
    number: usize,
    pod: String,
    container: String,
    ip: String,
}

fn script(number: usize) -> String {
    format!(
        "mkdir -p /www; echo page-{number} >/www/index.html; httpd -p 80 -h /www\n\
         echo out-{number}; echo err-{number} >&2\n\
         trap 'echo bye-{number}; exit {code}' TERM; while :; do sleep 0.1; done",
        code = number + 1,
    )
}

async fn make(world: Arc<World>, cri: Cri, number: usize) -> Made {
    let name = format!("pod-{number}");
    let config = with_host_port(world.pod(&name).unwrap(), i32::try_from(FIRST_PORT + number).unwrap(), 80);
    let pod = cri.run_pod(&config).await.unwrap();
    let container = cri.create(&pod, &shell("main", BUSYBOX, &script(number)), &config).await.unwrap();
    cri.start(&container).await.unwrap();
    let ip = cri.pod_ip(&pod).await.unwrap();
    Made { number, pod, container, ip }
}

/// Runs a step for each, with 16 of them in flight.
async fn each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    items: impl Iterator<Item = F>,
) -> Vec<T> {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut set = JoinSet::new();
    for item in items {
        let permits = Arc::clone(&permits);
        set.spawn(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            item.await
        });
    }
    set.join_all().await
}

fn page(address: SocketAddr) -> String {
    let request = Request { method: "GET", target: "/index.html", headers: &[], body: &[] };
    let mut last = String::new();
    for _ in 0..100 {
        match request.send(address) {
            Ok(reply) => return String::from_utf8_lossy(&reply.body).trim().to_owned(),
            Err(error) => last = e2e::error::Chain(&error).to_string(),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    last
}

#[test]
fn a_hundred_pods_come_and_go_without_a_trace() {
    let Some(world) = World::new().unwrap() else { return };
    let world = Arc::new(world);
    let baseline = world.baseline().unwrap();
    let begin = Instant::now();
    let cri = world.tokio.block_on(world.daemon.client()).unwrap();
    let mut made = world.tokio.block_on(each((0..PODS).map(|n| make(Arc::clone(&world), cri.clone(), n))));
    made.sort_by_key(|made| made.number);
    println!("{PODS} pods run after {:?}", begin.elapsed());

    let addresses: BTreeSet<_> = made.iter().map(|made| made.ip.as_str()).collect();
    assert_eq!(addresses.len(), PODS, "an address was given twice");
    let bridge = world
        .tokio
        .block_on(cri.shell(&made[0].container, "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'"));
    let bridge = bridge.unwrap();
    for made in &made {
        // The bridge's own address is one of the host's, and not loopback, which would need route_localnet.
        let address = format!("{}:{}", bridge.trim(), FIRST_PORT + made.number);
        assert_eq!(page(address.parse().unwrap()), format!("page-{}", made.number), "host port of {address}");
    }
    for made in &made {
        let lines = e2e::logs::read(&world.log(&format!("pod-{}", made.number), "main")).unwrap();
        let mut seen: Vec<_> = lines.iter().map(|line| (line.stream.as_str(), line.text.as_str())).collect();
        seen.sort_unstable();
        let (err, out) = (format!("err-{}", made.number), format!("out-{}", made.number));
        assert_eq!(seen, [("stderr", err.as_str()), ("stdout", out.as_str())]);
    }

    let begin = Instant::now();
    world.tokio.block_on(each(made.into_iter().map(|made| {
        let cri = cri.clone();
        async move {
            cri.stop(&made.container, 10).await.unwrap();
            let status = wait_exited(&cri, &made.container, Duration::from_secs(30)).await.unwrap();
            assert_eq!(status.exit_code, i32::try_from(made.number + 1).unwrap());
            cri.end_pod(&made.pod).await.unwrap();
        }
    })));
    println!("{PODS} pods are gone after {:?}", begin.elapsed());
    world.tokio.block_on(async {
        assert!(cri.pods().await.unwrap().is_empty());
        assert!(cri.containers().await.unwrap().is_empty());
    });
    drop(cri);
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}
