//! What a person does with kubectl.

use crate::stage::{self, IDLE, PATIENCE, Scenario, Stage, container, once, pod};
use e2e::http::Request;
use e2e::world::BUSYBOX;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn kubectl_gets_through_to_containers() {
    let Some(cluster) = stage::cluster("clients") else { return };
    const SCENARIOS: &[Scenario] = &[
        ("logs", logs),
        ("follow", follow),
        ("exec", exec),
        ("attach", attach),
        ("port-forward", port_forward),
        ("copy", copy),
        ("debug", debug),
        ("debug-node", debug_node),
        ("top", top),
    ];
    stage::play(&cluster, SCENARIOS);
}

/// Both protocols of kubectl's streams.
fn protocols(line: impl Fn() -> Command) -> [Command; 2] {
    ["true", "false"].map(|websockets| {
        let mut command = line();
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
        command
    })
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Gives it something to read, closes that, and waits for the end: exit code and what it wrote.
fn converse(command: Command, input: &str) -> (Option<i32>, String) {
    let mut child = spawn(command);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let status = e2e::command::wait(&mut child, PATIENCE).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (status.code(), text)
}

fn logs(stage: &Stage<'_>) {
    stage.create(once("says", "for n in 1 2 3; do echo out $n; done; printf 'no end'; echo err >&2"));
    stage.ended("says");
    let log = |words: &[&str]| stage.kubectl.run(&[&["logs", "says"], words].concat()).unwrap();
    let all = log(&[]);
    assert!(["out 1\n", "out 3\n", "no end", "err\n"].iter().all(|part| all.contains(part)), "{all:?}");
    assert_eq!(log(&["--tail=2"]).lines().count(), 2);
    assert_eq!(log(&["--limit-bytes=4"]).len(), 4);
    let stamped = log(&["--timestamps"]);
    assert!(stamped.lines().all(|line| line.starts_with("20")), "{stamped}");
}

/// Each line comes when it is written, and the end with the container's.
fn follow(stage: &Stage<'_>) {
    stage.create(once(
        "says",
        "n=0; while [ ! -e /tmp/end ]; do echo line $n; n=$((n + 1)); sleep 0.2; done; echo over",
    ));
    stage.ready("says");
    let mut child = spawn(stage.kubectl.command(&["logs", "--follow", "says"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..5 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("line {n}"));
    }
    stage.shell("says", "touch /tmp/end");
    assert_eq!(lines.last().unwrap().unwrap(), "over");
    assert!(e2e::command::wait(&mut child, PATIENCE).unwrap().success());
}

fn exec(stage: &Stage<'_>) {
    stage.create(pod("busy", json!({"containers": [container("main", IDLE)]})));
    stage.ready("busy");
    let words = ["exec", "--stdin", "busy", "--", "sh", "-c", "cat; exit 7"];
    for command in protocols(|| stage.kubectl.command(&words)) {
        assert_eq!(converse(command, "through and back\n"), (Some(7), "through and back\n".to_owned()));
    }
    let megabytes =
        stage.kubectl.run(&["exec", "busy", "--", "sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"]);
    assert_eq!(megabytes.unwrap().len(), 5_000_000);
}

fn attach(stage: &Stage<'_>) {
    let mut main = container("main", "while read line; do echo got $line; done");
    main["stdin"] = json!(true);
    stage.create(pod("hears", json!({"containers": [main]})));
    stage.ready("hears");
    for command in protocols(|| stage.kubectl.command(&["attach", "--stdin", "--quiet", "hears"])) {
        let mut child = spawn(command);
        child.stdin.as_mut().unwrap().write_all(b"this\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "got this\n");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn port_forward(stage: &Stage<'_>) {
    let script = format!(
        "mkdir /tmp/www; echo page >/tmp/www/index.html; httpd -p 127.0.0.1:8080 -h /tmp/www; {IDLE}"
    );
    stage.create(pod("web", json!({"containers": [container("main", &script)]})));
    stage.ready("web");
    for command in protocols(|| stage.kubectl.command(&["port-forward", "pod/web", ":8080"])) {
        let mut child = spawn(command);
        // Open until the end: it tells each connection there.
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let server = line.split(' ').find(|word| word.starts_with("127.0.0.1:")).expect("an address");
        let server: SocketAddr = server.parse().unwrap();
        for _ in 0..3 {
            let reply = Request { method: "GET", target: "/", headers: &[], body: &[] }.send(server).unwrap();
            assert_eq!(String::from_utf8_lossy(&reply.body), "page\n");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn copy(stage: &Stage<'_>) {
    stage.create(pod("busy", json!({"containers": [container("main", IDLE)]})));
    stage.ready("busy");
    let directory = tempfile::tempdir().unwrap();
    let (there, back) = (directory.path().join("there"), directory.path().join("back"));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&there, &bytes).unwrap();
    stage.kubectl.run(&["cp", there.to_str().unwrap(), "busy:/tmp/file"]).unwrap();
    stage.kubectl.run(&["cp", "busy:/tmp/file", back.to_str().unwrap()]).unwrap();
    assert_eq!(fs::read(&back).unwrap(), bytes);
}

/// A container that joins a running pod, and sees the processes of another one.
fn debug(stage: &Stage<'_>) {
    let main = json!({"name": "main", "image": e2e::cluster::AGNHOST, "args": ["pause"]});
    stage.create(pod("quiet", json!({"containers": [main]})));
    stage.ready("quiet");
    let image = format!("--image={BUSYBOX}");
    let words = [
        "debug",
        "quiet",
        &image,
        "--target=main",
        "--container=looks",
        "--profile=general",
        "--",
        "sh",
        "-c",
    ];
    let script = "until tr '\\0' ' ' </proc/1/cmdline | grep agnhost; do sleep 0.1; done";
    stage.kubectl.run(&[&words[..], &[script]].concat()).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = stage.kubectl.run(&["logs", "quiet", "--container=looks"]);
        if seen.as_ref().is_ok_and(|text| text == "/agnhost pause \n") {
            break;
        }
        assert!(Instant::now() < end, "{seen:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
    let pod = stage.ready("quiet");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// A pod in the node's own namespaces, with its files below /host.
fn debug_node(stage: &Stage<'_>) {
    let image = format!("--image={BUSYBOX}");
    let words = [
        "debug",
        "node/node1",
        &image,
        "--quiet",
        "--attach=false",
        "--",
        "ls",
        "/host/var/lib/kubelet/config.json",
    ];
    stage.kubectl.run(&words).unwrap();
    let pods = stage.kubectl.get(&["get", "pods"]).unwrap();
    let name = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    assert_eq!(stage.ended(name)["phase"], "Succeeded");
    assert_eq!(stage.kubectl.run(&["logs", name]).unwrap(), "/host/var/lib/kubelet/config.json\n");
}

/// What a pod and its node use, by way of metrics-server.
fn top(stage: &Stage<'_>) {
    let _server = stage.cluster.serve_metrics().unwrap();
    stage.create(pod("busy", json!({"containers": [container("main", "while :; do :; done")]})));
    stage.ready("busy");
    let end = Instant::now() + PATIENCE;
    let pods = loop {
        let seen = stage.kubectl.run(&["top", "pod", "--containers", "--no-headers"]);
        if let Ok(text) = &seen
            && text.lines().count() == 1
        {
            break text.clone();
        }
        assert!(Instant::now() < end, "{seen:?}");
        std::thread::sleep(Duration::from_millis(500));
    };
    let words: Vec<_> = pods.split_whitespace().collect();
    let [pod, container, cpu, memory] = words[..] else { panic!("{pods}") };
    assert_eq!((pod, container), ("busy", "main"));
    let cpu: u32 = cpu.trim_end_matches('m').parse().unwrap();
    assert!(cpu > 50, "{pods}");
    assert!(memory.ends_with("Mi"), "{pods}");
    let node = stage.kubectl.run(&["top", "node", "--no-headers"]).unwrap();
    assert!(node.starts_with("node1 "), "{node}");
}
