//! Forwarded ports.

use crate::talk::Talk;
use crate::{SOON, TRANSPORTS, start_in};
use e2e::http::Request;
use e2e::pods;
use e2e::proto::NamespaceMode;
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
