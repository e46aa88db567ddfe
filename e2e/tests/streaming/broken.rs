//! Clients that do everything wrong.

use crate::talk::Talk;
use crate::tls::{head, upgrade};
use crate::urls::{exec_request, exec_url, split};
use crate::{SOON, idle, start};
use e2e::process;
use e2e::proto::ExecRequest;
use e2e::world::World;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn descriptors(pid: i32) -> usize {
    process::descriptors(pid).unwrap()
}

fn resident_kib(pid: i32) -> i64 {
    process::memory(pid, "VmRSS").unwrap().cast_signed()
}

/// One client that does everything wrong, in the way of its number.
fn misbehave(address: SocketAddr, path: Option<&str>, way: usize) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let upgrade = match way % 2 {
        0 => "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io",
        _ => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    };
    let path = path.unwrap_or("/exec/nothing");
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{upgrade}\r\n\r\n");
    let huge = "x".repeat(40_000);
    let junk: &[u8] = match way % 5 {
        0 => b"\x80\x03\x00\x01\x00\xff\xff\xff",
        1 => b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff....",
        2 => b"\x00\x00\x00\x01\x01\xff\xff\xffjunk",
        3 => huge.as_bytes(),
        _ => b"",
    };
    // The server may hang up in the middle of it, as it should.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(junk));
    if way.is_multiple_of(3) {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
        let _ = stream.read(&mut [0; 512]);
    }
}

#[test]
fn ten_thousand_broken_clients_leave_nothing() {
    let Some(world) = World::new().unwrap() else { return };
    let (_, id) = start(&world, "broken", &idle());
    let pid = world.daemon.pid();
    let (cri, address) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (address, _) = split(&exec_url(&cri, &id).await.unwrap());
        (cri, address)
    });
    let round = |count: usize| {
        std::thread::scope(|scope| {
            for lane in 0..4 {
                let (cri, id, tokio) = (cri.clone(), id.clone(), &world.tokio);
                scope.spawn(move || {
                    for way in (lane..count).step_by(4) {
                        // One in ten has a URL.
                        let url = way
                            .is_multiple_of(10)
                            .then(|| tokio.block_on(exec_url(&cri, &id)).ok())
                            .flatten();
                        let path = url.map(|url| split(&url).1);
                        misbehave(address, path.as_deref(), way / 10 + way);
                    }
                });
            }
        });
    };
    let settle = |limit: usize| {
        let since = Instant::now();
        while descriptors(pid) > limit {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{} descriptors, {limit} before",
                descriptors(pid)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let before = descriptors(pid);
    round(2_000);
    settle(before);
    let resident = resident_kib(pid);
    for _ in 0..3 {
        round(4_000);
        settle(before);
    }
    // The daemon gives what a burst left free back to the kernel from time to time; what leaks never goes.
    let since = Instant::now();
    while resident_kib(pid) > resident + (4 << 10) {
        let now = resident_kib(pid);
        assert!(
            since.elapsed() < Duration::from_secs(90),
            "{resident} KiB before 12,000 clients, {now} after"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let done = world.crictl().unwrap().run(&["exec", &id, "echo", "fine"]).unwrap();
    assert_eq!(done, "fine");
}

#[test]
fn a_frame_that_is_too_large_ends_its_own_connection_only() {
    let Some(world) = World::new().unwrap() else { return };
    let (_, id) = start(&world, "oversized", &idle());
    let crictl = world.crictl().unwrap();
    let mut other = Talk::new(&mut crictl.command(&["exec", "-i", &id, "cat"]));
    other.say("before\n");
    other.hear("before\n");
    // A command that stays, over a connection that is upgraded: then frames that announce 2^40 bytes and 16 MiB.
    let spdy = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
    let websocket: &[u8] = b"\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x01\x02\x03\x04";
    for (transport, frame) in
        [("websocket", websocket), ("spdy", b"\x80\x03\x00\x01\x00\xff\xff\xff\x00\x00")]
    {
        let (address, path) = world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let cmd = ["sleep", "1000"].map(str::to_owned).to_vec();
            let request = ExecRequest { cmd, stdin: true, ..exec_request(&id) };
            split(&cri.runtime.clone().exec(request).await.unwrap().into_inner().url)
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = match transport {
            "spdy" => format!("POST {path} HTTP/1.1\r\nHost: x\r\n{spdy}\r\n"),
            _ => upgrade(&path),
        };
        stream.write_all(request.as_bytes()).unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{transport}: {answer}");
        stream.write_all(frame).unwrap();
        let mut rest = Vec::new();
        // It ends, by a reset or after a word of why; a read that waits for ever is an error of another kind.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{transport}: {error}");
        }
        other.say(&format!("after {transport}\n"));
        other.hear(&format!("after {transport}\n"));
    }
    assert!(other.end());
}
