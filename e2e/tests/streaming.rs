//! Exec, attach and port forwarding with the real crictl, over SPDY and over WebSockets; what becomes of broken clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use e2e::client::Cri;
use e2e::http::Request;
use e2e::pods;
use e2e::proto::{
    AttachRequest, ContainerConfig, ExecRequest, NamespaceMode, PodSandboxConfig, PortForwardRequest,
};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::Code;

const TRANSPORTS: [&str; 2] = ["spdy", "websocket"];
const SOON: Duration = Duration::from_secs(30);

/// A pod with one running container: their ids.
fn start(world: &World, name: &str, container: &ContainerConfig) -> (String, String) {
    start_in(world, &world.pod(name).unwrap(), container)
}

fn start_in(world: &World, config: &PodSandboxConfig, container: &ContainerConfig) -> (String, String) {
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod(config).await.unwrap();
        let container = cri.create(&pod, container, config).await.unwrap();
        cri.start(&container).await.unwrap();
        (pod, container)
    })
}

fn idle() -> ContainerConfig {
    pods::shell("main", BUSYBOX, "while :; do sleep 1000; done")
}

/// A program whose output is read while it runs; killed when it is dropped.
struct Talk {
    child: Child,
    heard: String,
}

impl Talk {
    fn new(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), heard: String::new() }
    }

    fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the text is there; what came up to then. It ends with a panic when the program does, and the
    /// scenario's own deadline ends what says nothing.
    fn hear(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.heard.find(wanted) {
                let rest = self.heard.split_off(at + wanted.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            let mut buffer = [0; 4096];
            let count = self.child.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            assert_ne!(count, 0, "it ends behind {:?}", self.heard);
            self.heard += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    /// Waits for its end; whether that was well.
    fn end(&mut self) -> bool {
        drop(self.child.stdin.take());
        let status = e2e::command::wait(&mut self.child, SOON);
        status.expect("it does not end").success()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn commands_have_their_streams_and_exit_codes() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let (_, id) = start(&world, "exec", &idle());
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
    for transport in TRANSPORTS {
        let exec = |flags: &[&str], script: &str, input: &[u8]| {
            let words = [&["exec", "-r", transport], flags, &[id.as_str(), "sh", "-c", script]].concat();
            crictl.feed(&words, input).unwrap()
        };
        let done = exec(&[], "echo out; echo err >&2", b"");
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"), "{transport}");
        assert!(done.status.success());
        // The end of the input reaches the command, and all of its output comes back.
        let done = exec(&["-i"], "cat; echo over >&2", b"some input");
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("some input", "over\n"), "{transport}");
        let done = exec(&["-i"], "wc -c; cat /dev/null", &large);
        assert_eq!(done.stdout.trim(), "3000000", "{transport}: {}", done.stderr);
        let done = exec(&[], "head -c 5000000 /dev/zero | tr '\\0' x", b"");
        assert_eq!(done.stdout.len(), 5_000_000, "{transport}: {}", done.stderr);
        let done = exec(&[], "exit 42", b"");
        assert!(!done.status.success() && done.stderr.contains("exit code 42"), "{}", done.stderr);
        let done = exec(&[], "kill -9 $$", b"");
        assert!(done.stderr.contains("exit code 137"), "{}", done.stderr);
        // What it leaves behind holds its output open, and nobody waits for that.
        let done = exec(&[], "sleep 1000 & echo done", b"");
        assert_eq!(done.stdout, "done\n", "{transport}");
        for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
            let done = crictl.finish(&["exec", "-r", transport, &id, command]).unwrap();
            assert!(!done.status.success(), "{command} runs");
            if world.daemon.kind() == Kind::Corten {
                let wanted = format!("exit code {code}");
                assert!(done.stderr.contains(&wanted), "{transport}: {}", done.stderr);
                assert!(done.stderr.contains(&format!("exec: \"{command}\"")), "{}", done.stderr);
            }
        }
    }
}

/// crictl in a terminal of 33 lines and 111 columns, which becomes one of 40 and 120 when a file appears.
fn in_a_terminal(line: &str, flag: &std::path::Path) -> Talk {
    let script = format!(
        "stty rows 33 cols 111; (until [ -e {} ]; do sleep 0.05; done; stty rows 40 cols 120 </dev/tty) & exec {line}",
        flag.display()
    );
    Talk::new(Command::new("script").args(["-q", "-e", "-c", &script, "/dev/null"]))
}

#[test]
fn a_terminal_has_its_size_and_hangs_up() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let (_, id) = start(&world, "tty", &idle());
    for transport in TRANSPORTS {
        let flag = world.logs.join(format!("resize-{transport}"));
        let line = format!("{} exec -i -t -r {transport} {id} sh", crictl.line());
        let mut talk = in_a_terminal(&line, &flag);
        let until = |size: &str| {
            format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.05; done; echo \"now\" {size}\n")
        };
        talk.say(&until("33 111"));
        talk.hear("now 33 111");
        fs::write(&flag, "").unwrap();
        talk.say(&until("40 120"));
        talk.hear("now 40 120");
        talk.say("tty; echo $TERM; echo \"the end\"; exit 7\n");
        let said = talk.hear("the end\r\n");
        assert!(said.contains("/dev/pts/") && said.contains("xterm"), "{said}");
        assert!(!talk.end());
        // A client that is killed takes the shell with it, and what runs in it.
        let mut talk = in_a_terminal(&line, &flag);
        talk.say("echo \"ready\"; exec sleep 987654\n");
        talk.hear("ready\r\n");
        drop(talk);
        if world.daemon.kind() == Kind::Corten {
            let since = Instant::now();
            let runs = || {
                let done = crictl.finish(&["exec", &id, "pgrep", "-f", "sleep 98765[4]"]).unwrap();
                !done.stdout.is_empty()
            };
            while runs() {
                assert!(since.elapsed() < SOON, "the command outlives its terminal");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[test]
fn attached_clients_see_what_comes_and_feed_what_reads() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    for transport in TRANSPORTS {
        let script =
            "echo before; while read line; do echo out $line; echo err $line >&2; done; echo over; exit 5";
        let mut container = pods::shell("main", BUSYBOX, script);
        (container.stdin, container.stdin_once) = (true, true);
        let name = format!("attach-{transport}");
        let (_, id) = start(&world, &name, &container);
        let mut watcher = Talk::new(&mut crictl.command(&["attach", "-r", transport, &id]));
        let mut talk = Talk::new(&mut crictl.command(&["attach", "-i", "-r", transport, &id]));
        talk.say("one\n");
        talk.hear("out one\n");
        // Whoever attached may have done so after the first line.
        let since = Instant::now();
        let mut count = 0;
        while !watcher.heard.contains("out ") {
            assert!(since.elapsed() < SOON, "the watcher sees nothing");
            count += 1;
            talk.say(&format!("{count}\n"));
            talk.hear(&format!("out {count}\n"));
            let some = watcher.hear_some();
            watcher.heard += &some;
        }
        // Its input ends, and with it the container's; the output comes to the end.
        drop(talk.child.stdin.take());
        talk.hear("over\n");
        assert!(talk.end() && watcher.end(), "{transport}: attach fails when the container exits");
        let status = world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            wait_exited(&cri, &id, SOON).await.unwrap()
        });
        assert_eq!(status.exit_code, 5);
        let log = fs::read_to_string(world.log(&name, "main")).unwrap();
        assert!(log.contains("F before") && log.contains("F out one") && log.contains("F over"), "{log}");
        let late = crictl.finish(&["attach", "-r", transport, &id]).unwrap();
        assert!(!late.status.success(), "attached to a container that has ended");
    }
}

impl Talk {
    /// What is there within a moment; nothing when nothing is.
    fn hear_some(&mut self) -> String {
        use std::os::fd::AsFd;
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut wait = [nix::poll::PollFd::new(stdout.as_fd(), nix::poll::PollFlags::POLLIN)];
        if nix::poll::poll(&mut wait, 100_u16).unwrap() == 0 {
            return String::new();
        }
        let mut buffer = [0; 4096];
        let count = stdout.read(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }
}

#[test]
fn a_client_that_never_reads_holds_up_no_container() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        println!("skipped: containerd waits for such a client");
        return;
    }
    let crictl = world.crictl().unwrap();
    let script = "until [ -e /go ]; do echo tick; sleep 0.05; done; head -c 60000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo; echo over";
    let (_, id) = start(&world, "lazy", &pods::shell("main", BUSYBOX, script));
    // Its output goes to a pipe that nobody reads.
    let mut lazy = Talk::new(&mut crictl.command(&["attach", &id]));
    lazy.hear("tick\n");
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.shell(&id, "touch /go").await.unwrap();
        wait_exited(&cri, &id, Duration::from_secs(60)).await.unwrap();
    });
    let log = fs::read_to_string(world.log("lazy", "main")).unwrap();
    assert!(log.len() > 60_000_000 && log.trim_end().ends_with("F over"), "{} bytes", log.len());
    let mut rest = Vec::new();
    lazy.child.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 60_000_000, "{} bytes: nothing was dropped", rest.len());
}

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

/// The address and the path of a URL.
fn split(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    (address.parse().unwrap(), format!("/{path}"))
}

fn exec_request(id: &str) -> ExecRequest {
    ExecRequest {
        container_id: id.to_owned(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    }
}

async fn exec_url(cri: &Cri, id: &str) -> Result<String, tonic::Status> {
    cri.runtime.clone().exec(exec_request(id)).await.map(|reply| reply.into_inner().url)
}

#[test]
fn urls_are_good_once_and_bad_requests_are_refused() {
    let Some(world) = World::new().unwrap() else { return };
    let (pod, id) = start(&world, "urls", &idle());
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut runtime = cri.runtime.clone();
        let refused = runtime.exec(ExecRequest { tty: true, ..exec_request(&id) }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let refused = runtime.exec(ExecRequest { stdout: false, stderr: false, ..exec_request(&id) }).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        let request =
            AttachRequest { container_id: id.clone(), tty: true, stderr: true, ..AttachRequest::default() };
        assert_eq!(runtime.attach(request).await.unwrap_err().code(), Code::InvalidArgument);
        let corten = world.daemon.kind() == Kind::Corten;
        if corten {
            let refused = runtime.exec(exec_request("unknown")).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused}");
            let request = PortForwardRequest { pod_sandbox_id: "unknown".to_owned(), port: vec![] };
            assert_eq!(runtime.port_forward(request).await.unwrap_err().code(), Code::NotFound);
            let request = PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![80, 65536] };
            let refused = runtime.port_forward(request).await.unwrap_err();
            assert!(
                refused.code() == Code::InvalidArgument && refused.message().contains("port[1]"),
                "{refused}"
            );
        }
        let (address, path) = split(&exec_url(&cri, &id).await.unwrap());
        assert!(address.ip().is_loopback() && path.len() > 8);
        let status = |method: &'static str, target: String, headers: &'static [(&str, &str)]| {
            let send =
                move || Request { method, target: &target, headers, body: &[] }.send(address).unwrap().status;
            tokio::task::spawn_blocking(send)
        };
        assert_eq!(status("GET", path.clone(), &[]).await.unwrap(), 400, "no upgrade");
        for method in ["GET", "POST"] {
            assert_eq!(status(method, path.clone(), &[]).await.unwrap(), 404, "used up");
        }
        let guessed = format!("/exec/{}", "A".repeat(32));
        assert_eq!(status("GET", guessed, &[]).await.unwrap(), 404, "guessed");
        let (_, path) = split(&exec_url(&cri, &id).await.unwrap());
        let other = path.replace("/exec/", "/attach/");
        assert_eq!(status("POST", other, &[]).await.unwrap(), 404, "another verb");
        if corten {
            assert_eq!(status("DELETE", "/exec/x".to_owned(), &[]).await.unwrap(), 405);
        }
        // A thousand may wait for their client, of which some are used up above.
        let mut last = Ok(String::new());
        for count in 0..1_001 {
            last = exec_url(&cri, &id).await;
            if last.is_err() {
                assert!(count >= 995, "refused after {count}");
                break;
            }
        }
        assert_eq!(last.unwrap_err().code(), Code::ResourceExhausted);
    });
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn resident_kib(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
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
    round(8_000);
    settle(before);
    let grown = resident_kib(pid) - resident;
    assert!(grown < 8 << 10, "{grown} KiB more than {resident}");
    let done = world.crictl().unwrap().run(&["exec", &id, "echo", "fine"]).unwrap();
    assert_eq!(done, "fine");
}
