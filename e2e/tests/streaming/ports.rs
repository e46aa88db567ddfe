//! Forwarded ports.

use crate::talk::Talk;
use crate::{SOON, TRANSPORTS, start, start_in};
use e2e::http::Request;
use e2e::pods;
use e2e::proto::{NamespaceMode, PortForwardRequest};
use e2e::raw::{Raw, Said, Upgrade};
use e2e::world::{BUSYBOX, World};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn local_port(talk: &mut Talk) -> SocketAddr {
    talk.hear("Forwarding from 127.0.0.1:");
    let port = talk.hear(" -> ");
    format!("127.0.0.1:{}", port.trim_end_matches(" -> ")).parse().unwrap()
}

#[test]
fn ports_are_forwarded_into_the_pod_and_into_the_host_s_network() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let script = "mkdir /www; head -c 2000000 /dev/zero >/www/large; echo hello >/www/index.html; exec httpd -f -p $PORT -h /www";
    let mut host = world.pod("host").unwrap();
    let linux = host.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    linux.namespace_options.as_mut().unwrap().network = NamespaceMode::Node.into();
    for (config, port) in [(world.pod("own").unwrap(), "8080"), (host, "18081")] {
        let mut container = pods::shell("web", BUSYBOX, &script.replace("$PORT", port));
        if port == "18081" {
            let security = container.linux.as_mut().unwrap().security_context.as_mut().unwrap();
            security.namespace_options.as_mut().unwrap().network = NamespaceMode::Node.into();
        }
        let (pod, _) = start_in(&world, &config, &container);
        for transport in TRANSPORTS {
            let wanted = format!(":{port}");
            let ready = Instant::now();
            let mut talk = loop {
                let mut talk =
                    Talk::new(&mut crictl.command(&["port-forward", "-r", transport, &pod, &wanted]));
                let address = local_port(&mut talk);
                // A connection that is refused ends the client: the server may not listen yet.
                if fetch(address, "/index.html").is_some_and(|body| body == b"hello\n") {
                    break talk;
                }
                assert!(ready.elapsed() < SOON, "{transport}: nothing answers at port {port}");
                std::thread::sleep(Duration::from_millis(50));
            };
            let address = {
                let mut again =
                    Talk::new(&mut crictl.command(&["port-forward", "-r", transport, &pod, &wanted]));
                let address = local_port(&mut again);
                std::thread::scope(|scope| {
                    let fetches: Vec<_> = (0..8)
                        .map(|_| scope.spawn(move || fetch(address, "/large").unwrap().len()))
                        .collect();
                    for fetched in fetches {
                        assert_eq!(fetched.join().unwrap(), 2_000_000, "{transport}");
                    }
                });
                address
            };
            assert!(address.port() != 0 && talk.child.try_wait().unwrap().is_none());
            let _ = talk.child.kill();
        }
    }
}

fn fetch(address: SocketAddr, target: &str) -> Option<Vec<u8>> {
    let request = Request { method: "GET", target, headers: &[], body: &[] };
    request.send(address).ok().map(|reply| reply.body)
}

const UPGRADES: [Upgrade; 2] = [Upgrade::SpdyPorts, Upgrade::Tunnel];

fn raw(world: &World, pod: &str, upgrade: Upgrade) -> Raw {
    let request = PortForwardRequest { pod_sandbox_id: pod.to_owned(), port: vec![] };
    let url = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.runtime.clone().port_forward(request).await.unwrap().into_inner().url
    });
    Raw::connect(&url, upgrade).unwrap()
}

/// What a port says to a client that sends this much first; tried until somebody listens.
fn say(raw: &mut Raw, port: u16, first: &[u8]) -> Vec<u8> {
    let since = Instant::now();
    loop {
        let (data, _) = raw.forward(port).unwrap();
        first.chunks(16 << 10).for_each(|piece| raw.data(data, piece).unwrap());
        let answer = raw.hear_all(data).unwrap();
        if !answer.is_empty() || since.elapsed() > SOON {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_answer_that_comes_before_the_end_of_the_request_is_whole() {
    let Some(world) = World::new().unwrap() else { return };
    // The server reads nothing: its end takes back what it was sent, and resets the connection.
    let answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\nit is too large";
    let script = "echo \"printf \\\"$ANSWER\\\"\" >/answer; exec nc -ll -p 82 -e sh /answer"
        .replace("$ANSWER", &answer.replace('\r', "\\\\r").replace('\n', "\\\\n"));
    let (pod, _) = start(&world, "early", &pods::shell("main", BUSYBOX, &script));
    for upgrade in UPGRADES {
        let mut raw = raw(&world, &pod, upgrade);
        let first = say(&mut raw, 82, b"");
        assert_eq!(String::from_utf8_lossy(&first), answer, "{upgrade:?}");
        for round in 0..25 {
            let (data, _) = raw.forward(82).unwrap();
            for _ in 0..round {
                raw.data(data, &[b'x'; 16 << 10]).unwrap();
            }
            let said = raw.hear_all(data).unwrap();
            assert_eq!(String::from_utf8_lossy(&said), answer, "{upgrade:?}, round {round}");
        }
    }
}

#[test]
fn a_pod_that_goes_ends_its_connections() {
    let Some(world) = World::new().unwrap() else { return };
    for upgrade in UPGRADES {
        let (pod, _) = start(&world, "going", &pods::shell("main", BUSYBOX, "exec nc -ll -p 82 -e cat"));
        let mut raw = raw(&world, &pod, upgrade);
        let since = Instant::now();
        let data = loop {
            let (data, _) = raw.forward(82).unwrap();
            raw.data(data, b"hello").unwrap();
            let said = loop {
                match raw.hear().unwrap() {
                    Said::Data(id, said, _) if id == data => break said,
                    _ => {}
                }
            };
            if said == b"hello" {
                break data;
            }
            assert!(since.elapsed() < SOON, "{upgrade:?}: nobody answers");
            std::thread::sleep(Duration::from_millis(50));
        };
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            cri.end_pod(&pod).await.unwrap();
        });
        // The session itself ends, not only what went through it.
        let _ = raw.data(data, b"anybody?");
        while raw.hear().is_ok() {
            assert!(since.elapsed() < SOON, "{upgrade:?}: the session outlives its pod");
        }
    }
}
