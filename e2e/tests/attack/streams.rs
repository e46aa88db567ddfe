//! Clients of exec, attach and port-forward that reset, flood or never read.

use e2e::pods;
use e2e::proto::{AttachRequest, ExecRequest, PortForwardRequest};
use e2e::raw::{Raw, Upgrade, rst_stream, syn_stream};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{process, wait};
use std::fs;
use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

fn resident_mib(pid: i32) -> i64 {
    process::memory(pid, "VmRSS").unwrap().cast_signed() / 1024
}

/// Sockets, pipes and terminals of a daemon: what streams hold. Files that are watched come and go as they like.
fn descriptors(pid: i32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let kinds = ["socket:", "pipe:", "/dev/pts", "/dev/ptmx"];
    targets.filter(|target| kinds.iter().any(|kind| target.to_string_lossy().starts_with(kind))).count()
}

/// A world of Corten's with a container that runs a script: the pod's and the container's id.
fn world(script: &str) -> Option<(World, String, String)> {
    let world = World::new().unwrap()?;
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's bounds");
        return None;
    }
    let config = world.pod("target").unwrap();
    let mut container = pods::shell("main", BUSYBOX, script);
    container.stdin = true;
    let (pod, id) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &container, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        (pod, id)
    });
    Some((world, pod, id))
}

fn ports_url(world: &World, pod: &str) -> String {
    let request = PortForwardRequest { pod_sandbox_id: pod.to_owned(), port: vec![80] };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.runtime.clone().port_forward(request).await.unwrap().into_inner().url
    })
}

fn exec_url(world: &World, id: &str, command: &[&str], stdin: bool) -> String {
    let cmd = command.iter().map(|word| (*word).to_owned()).collect();
    let request =
        ExecRequest { container_id: id.to_owned(), cmd, stdin, stdout: true, ..ExecRequest::default() };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.runtime.clone().exec(request).await.unwrap().into_inner().url
    })
}

fn attach_url(world: &World, id: &str, stdin: bool) -> String {
    let request =
        AttachRequest { container_id: id.to_owned(), stdin, stdout: true, ..AttachRequest::default() };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.runtime.clone().attach(request).await.unwrap().into_inner().url
    })
}

/// Over SPDY, with the streams of a command or a container; the number of stdin.
fn spdy(url: &str, stdin: bool) -> (Raw, u32) {
    let mut raw = Raw::connect(url, Upgrade::Spdy).unwrap();
    raw.open(&[("streamtype", "error")]).unwrap();
    let first = if stdin { raw.open(&[("streamtype", "stdin")]).unwrap() } else { 0 };
    raw.open(&[("streamtype", "stdout")]).unwrap();
    (raw, first)
}

#[test]
fn streams_that_are_reset_at_once_cost_no_memory() {
    let Some((world, pod, id)) = world("exec sleep 1000") else { return };
    let pid = world.daemon.pid();
    for upgrade in [Upgrade::SpdyPorts, Upgrade::Tunnel] {
        let mut raw = Raw::connect(&ports_url(&world, &pod), upgrade).unwrap();
        let mut reader = raw.socket().try_clone().unwrap();
        let before = resident_mib(pid);
        std::thread::scope(|scope| {
            scope.spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|count| count > 0) {});
            let (since, padding) = (Instant::now(), "x".repeat(8000));
            let mut stream = 1;
            while since.elapsed() < Duration::from_secs(3) {
                let request = format!("{stream}{padding}");
                let headers = [("streamtype", "error"), ("port", "80"), ("requestid", &request)];
                raw.send(&[syn_stream(stream, &headers), rst_stream(stream)].concat()).unwrap();
                stream += 2;
            }
            let grown = resident_mib(pid) - before;
            raw.socket().shutdown(Shutdown::Both).unwrap();
            println!("{upgrade:?}: {} streams, {grown} MiB", stream / 2);
            assert!(grown < 64, "{upgrade:?}: {grown} MiB for {} streams that were reset", stream / 2);
        });
    }
    assert_eq!(world.crictl().unwrap().run(&["exec", &id, "echo", "fine"]).unwrap(), "fine");
}

#[test]
fn clients_that_never_read_share_what_is_kept_for_the_slow() {
    const CLIENTS: usize = 60;
    let script =
        "until [ -e /go ]; do sleep 0.05; done; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo over";
    let Some((world, _, id)) = world(script) else { return };
    let pid = world.daemon.pid();
    let clients: Vec<Raw> = (0..CLIENTS).map(|_| spdy(&attach_url(&world, &id, false), false).0).collect();
    let before = resident_mib(pid);
    let mut most = 0;
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        // Those who have not come so far see less.
        tokio::time::sleep(Duration::from_millis(500)).await;
        cri.shell(&id, "touch /go").await.unwrap();
        let exit = wait_exited(&cri, &id, Duration::from_secs(60));
        tokio::pin!(exit);
        loop {
            most = most.max(resident_mib(pid) - before);
            tokio::select! {
                exited = &mut exit => break drop(exited.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    most = most.max(resident_mib(pid) - before);
    println!("{most} MiB for {CLIENTS} clients");
    assert!(most < 200, "{most} MiB for {CLIENTS} clients that never read");
    let log = fs::read_to_string(world.log("target", "main")).unwrap();
    assert!(log.trim_end().ends_with("F over"), "the container's own output is whole");
    drop(clients);
}

/// Sends for ever on a stream, until the connection takes nothing more; what is said meanwhile is read, so that only the
/// end of what is sent can tell of the client's. `false` when all is taken: a forwarded stream that its pod does not read is
/// reset after a second, and what comes for it then is thrown away.
fn flood(raw: &mut Raw, stream: u32) -> bool {
    let mut reader = raw.socket().try_clone().unwrap();
    std::thread::spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|count| count > 0) {});
    raw.socket().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let since = Instant::now();
    let mut full = false;
    while !full && since.elapsed() < Duration::from_secs(5) {
        full = raw.data(stream, &[b'x'; 16 << 10]).is_err();
    }
    raw.socket().set_write_timeout(None).unwrap();
    full
}

/// How many descriptors a daemon has that is left alone. What it has ready for the next pod is made a moment after the
/// last one, and given up ten seconds later; files that are watched are opened anew for a moment every now and then, which
/// is none of its rest.
fn at_rest(pid: i32) -> usize {
    let (mut rest, mut since) = (descriptors(pid), Instant::now());
    let mut other = None;
    wait::until("descriptors at rest", Duration::from_secs(60), || {
        let now = descriptors(pid);
        other = match other {
            _ if now == rest => None,
            Some((count, begun)) if count == now => Some((count, begun)),
            _ => Some((now, Instant::now())),
        };
        if let Some((count, begun)) = other
            && begun.elapsed() > Duration::from_secs(1)
        {
            (rest, since, other) = (count, begun, None);
        }
        since.elapsed() > Duration::from_secs(11)
    })
    .unwrap();
    rest
}

/// Makes a client and the stream on which it is to send.
type Start<'a> = &'a dyn Fn() -> (Raw, u32);

#[test]
fn clients_that_leave_while_nothing_is_read_are_noticed() {
    let Some((world, pod, id)) = world("nc -ll -p 80 -e sleep 1000 & exec sleep 1000") else { return };
    let pid = world.daemon.pid();
    let stuck = ["sleep", "1000"];
    let kinds: [(&str, Start<'_>); 5] = [
        ("exec over SPDY", &|| spdy(&exec_url(&world, &id, &stuck, true), true)),
        ("exec over channels", &|| {
            (Raw::connect(&exec_url(&world, &id, &stuck, true), Upgrade::Channels).unwrap(), 0)
        }),
        ("attach over SPDY", &|| spdy(&attach_url(&world, &id, true), true)),
        ("ports over SPDY", &|| {
            let mut raw = Raw::connect(&ports_url(&world, &pod), Upgrade::SpdyPorts).unwrap();
            let (data, _) = raw.forward(80).unwrap();
            (raw, data)
        }),
        ("ports over a tunnel", &|| {
            let mut raw = Raw::connect(&ports_url(&world, &pod), Upgrade::Tunnel).unwrap();
            let (data, _) = raw.forward(80).unwrap();
            (raw, data)
        }),
    ];
    // What stays for ever is there after the first.
    let settle = |limit: usize, within: Duration| {
        let since = Instant::now();
        while descriptors(pid) > limit && since.elapsed() < within {
            std::thread::sleep(Duration::from_millis(20));
        }
        (descriptors(pid), since.elapsed())
    };
    world.crictl().unwrap().run(&["exec", &id, "true"]).unwrap();
    let before = at_rest(pid);
    for (kind, start) in kinds {
        let (mut raw, stream) = start();
        let full = flood(&mut raw, stream);
        assert!(full || kind.starts_with("ports"), "{kind}: everything is taken");
        assert!(descriptors(pid) > before, "{kind}");
        raw.socket().shutdown(Shutdown::Both).unwrap();
        drop(raw);
        let (left, took) = settle(before, Duration::from_secs(8));
        println!("{kind}: {left} descriptors, {before} before, after {took:?}");
        assert!(left <= before, "{kind}: {left} descriptors, {before} before");
    }
}

#[test]
fn a_pod_that_never_reads_holds_up_no_other_connection() {
    let script =
        "mkdir /www; echo hello >/www/index.html; nc -ll -p 81 -e sleep 1000 & exec httpd -f -p 80 -h /www";
    let Some((world, pod, _)) = world(script) else { return };
    let pid = world.daemon.pid();
    at_rest(pid);
    for upgrade in [Upgrade::SpdyPorts, Upgrade::Tunnel] {
        let before = descriptors(pid);
        let mut raw = Raw::connect(&ports_url(&world, &pod), upgrade).unwrap();
        let since = Instant::now();
        loop {
            let (data, _) = raw.forward(80).unwrap();
            raw.data(data, b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
            if raw.hear_all(data).unwrap().ends_with(b"hello\n") {
                break;
            }
            assert!(since.elapsed() < SOON, "{upgrade:?}: nobody answers");
            std::thread::sleep(Duration::from_millis(50));
        }
        let (stuck, _) = raw.forward(81).unwrap();
        let (fine, _) = raw.forward(80).unwrap();
        raw.socket().set_write_timeout(Some(SOON)).unwrap();
        let resident = resident_mib(pid);
        for _ in 0..4096 {
            raw.data(stuck, &[b'x'; 16 << 10]).unwrap();
        }
        raw.data(fine, b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
        let answer = raw.hear_all(fine).unwrap();
        assert!(answer.ends_with(b"hello\n"), "{upgrade:?}: {}", String::from_utf8_lossy(&answer));
        // And one that comes behind.
        let (later, _) = raw.forward(80).unwrap();
        raw.data(later, b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
        assert!(raw.hear_all(later).unwrap().ends_with(b"hello\n"), "{upgrade:?}");
        let grown = resident_mib(pid) - resident;
        assert!(grown < 100, "{upgrade:?}: {grown} MiB");
        // The one that is stuck has gone, or goes when it is given up.
        raw.reset(stuck).unwrap();
        let since = Instant::now();
        while descriptors(pid) > before + 1 {
            assert!(since.elapsed() < Duration::from_secs(8), "{} of {before} descriptors", descriptors(pid));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
