//! The real crictl against the daemon: every command that an operator types on a node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::crictl::Crictl;
use e2e::image;
use e2e::registry::{PASSWORD, Registry, USER};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

struct Files {
    pod: PathBuf,
    container: PathBuf,
}

fn write_configs(world: &World) -> Files {
    let logs = world.logs.join("crictl");
    fs::create_dir_all(&logs).unwrap();
    let pod = json!({
        "metadata": {"name": "crictl", "namespace": "test", "uid": "u1", "attempt": 0},
        "hostname": "crictl-pod", "log_directory": logs, "labels": {"app": "crictl"},
        "annotations": {"note": "verbatim"},
        "dns_config": {"servers": ["10.1.2.3"], "searches": ["test.local"], "options": ["ndots:2"]},
        "port_mappings": [{"container_port": 8080, "host_port": 18080, "protocol": 0}],
        "linux": {"cgroup_parent": world.isolation.cgroup_parent()},
    });
    let script =
        "echo out; echo err >&2; mkdir -p /www; echo hello >/www/index.html; exec httpd -f -p 8080 -h /www";
    let container = json!({
        "metadata": {"name": "web", "attempt": 0}, "image": {"image": BUSYBOX},
        "command": ["/bin/sh", "-c", script], "envs": [{"key": "COLOUR", "value": "rust"}],
        "log_path": "web.log", "labels": {"app": "crictl"},
        "linux": {"resources": {"memory_limit_in_bytes": 67_108_864}},
    });
    let files = Files { pod: world.logs.join("pod.json"), container: world.logs.join("container.json") };
    fs::write(&files.pod, pod.to_string()).unwrap();
    fs::write(&files.container, container.to_string()).unwrap();
    files
}

fn json_of(crictl: &Crictl, arguments: &[&str]) -> Value {
    serde_json::from_str(&crictl.run(arguments).unwrap()).unwrap()
}

#[test]
fn an_operator_s_day() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let files = write_configs(&world);

    let version = crictl.run(&["version"]).unwrap();
    let name = if world.daemon.kind() == Kind::Corten { "corten" } else { "containerd" };
    assert!(version.contains(name) && version.contains("RuntimeApiVersion:  v1"), "{version}");
    let info = json_of(&crictl, &["info"]);
    let conditions = info["status"]["conditions"].as_array().unwrap();
    for name in ["RuntimeReady", "NetworkReady"] {
        assert!(conditions.iter().any(|one| one["type"] == name && one["status"] == true), "{name}: {info}");
    }
    let config = crictl.run(&["runtime-config"]).unwrap();
    assert!(config.to_lowercase().contains("cgroup"), "{config}");
    crictl.run(&["update-runtime-config", "--pod-cidr", "10.88.0.0/16"]).unwrap();

    crictl.run(&["pull", BUSYBOX]).unwrap();
    let images = json_of(&crictl, &["images", "-o", "json"]);
    let listed = &images["images"].as_array().unwrap()[0];
    assert_eq!(listed["repoTags"], json!([BUSYBOX]));
    let id = listed["id"].as_str().unwrap();
    let inspected = json_of(&crictl, &["inspecti", BUSYBOX]);
    assert_eq!(inspected["status"]["id"], id);
    assert!(inspected["info"]["imageSpec"]["rootfs"]["diff_ids"].is_array(), "{inspected}");
    let filesystems = json_of(&crictl, &["imagefsinfo"]);
    let used = filesystems["status"]["imageFilesystems"][0]["usedBytes"]["value"].as_str().map(str::to_owned);
    let used = used.map(|bytes| bytes.parse::<u64>().unwrap());
    // The peer counts every ten seconds only.
    assert!(used.is_some_and(|bytes| bytes > 0 || world.daemon.kind() == Kind::Containerd), "{filesystems}");

    pod_and_container(&world, &crictl, &files, id);

    crictl.run(&["rmi", BUSYBOX]).unwrap();
    let images = json_of(&crictl, &["images", "-o", "json"]);
    assert!(images["images"].as_array().unwrap().iter().all(|image| image["repoTags"] != json!([BUSYBOX])));
}

fn pod_and_container(world: &World, crictl: &Crictl, files: &Files, image: &str) {
    let (pod_file, container_file) = (files.pod.to_str().unwrap(), files.container.to_str().unwrap());
    let pod = crictl.run(&["runp", pod_file]).unwrap();
    assert!(crictl.run(&["pods", "--state", "ready", "-q", "--no-trunc"]).unwrap().contains(&pod));
    let status = json_of(crictl, &["inspectp", &pod]);
    assert_eq!(status["status"]["state"], "SANDBOX_READY");
    assert_eq!(status["status"]["annotations"], json!({"note": "verbatim"}));
    let ip = status["status"]["network"]["ip"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.88."), "{ip}");

    let container = crictl.run(&["create", &pod, container_file, pod_file]).unwrap();
    assert_eq!(json_of(crictl, &["inspect", &container])["status"]["state"], "CONTAINER_CREATED");
    crictl.run(&["start", &container]).unwrap();
    assert!(crictl.run(&["ps", "-q", "--no-trunc"]).unwrap().contains(&container));
    // The kubelet's garbage collection compares what containers use with what there is: one identity everywhere.
    assert_eq!(json_of(crictl, &["ps", "-o", "json"])["containers"][0]["imageId"], image);
    assert_eq!(json_of(crictl, &["inspect", &container])["status"]["imageId"], image);
    let inspected = json_of(crictl, &["inspect", &container]);
    assert_eq!(inspected["status"]["state"], "CONTAINER_RUNNING");
    assert!(inspected["info"]["pid"].as_i64().unwrap() > 1, "{}", inspected["info"]);
    assert!(inspected["info"]["runtimeSpec"]["process"]["args"].is_array());

    let exec = |script: &str| crictl.run(&["exec", "-s", &container, "/bin/sh", "-c", script]).unwrap();
    assert_eq!(exec("echo $COLOUR; hostname"), "rust\ncrictl-pod");
    let resolv = exec("cat /etc/resolv.conf");
    for line in ["nameserver 10.1.2.3", "search test.local", "options ndots:2"] {
        assert!(resolv.contains(line), "{resolv}");
    }
    let failed = crictl.finish(&["exec", "-s", &container, "/bin/sh", "-c", "exit 3"]).unwrap();
    assert!(!failed.status.success() && failed.stderr.contains('3'), "{}", failed.stderr);

    let logs = crictl.finish(&["logs", &container]).unwrap();
    assert!(logs.stdout.contains("out") && logs.stderr.contains("err"), "{logs:?}");
    for address in [format!("{ip}:8080"), "127.0.0.1:18080".to_owned()] {
        if address.starts_with("127.") && world.daemon.kind() == Kind::Containerd {
            continue;
        }
        assert!(fetch(&address).contains("hello"), "{address}");
    }

    crictl.run(&["stop", "--timeout", "1", &container]).unwrap();
    assert_eq!(json_of(crictl, &["inspect", &container])["status"]["state"], "CONTAINER_EXITED");
    crictl.run(&["rm", &container]).unwrap();
    assert!(!crictl.run(&["ps", "-a", "-q", "--no-trunc"]).unwrap().contains(&container));
    crictl.run(&["stopp", &pod]).unwrap();
    assert_eq!(json_of(crictl, &["inspectp", &pod])["status"]["state"], "SANDBOX_NOTREADY");
    crictl.run(&["rmp", &pod]).unwrap();
    assert_eq!(crictl.run(&["pods", "-q"]).unwrap(), "");
}

fn fetch(address: &str) -> String {
    let request = e2e::http::Request { method: "GET", target: "/index.html", headers: &[], body: &[] };
    let mut last = String::new();
    for _ in 0..50 {
        match request.send(address.parse().unwrap()) {
            Ok(reply) => return String::from_utf8_lossy(&reply.body).into_owned(),
            Err(error) => last = format!("{}", e2e::error::Chain(&error)),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    last
}

#[test]
fn a_registry_that_wants_a_password() {
    let Some(world) = World::with(|options| options).unwrap() else { return };
    let guarded =
        Registry::start_with_password(&world.isolation.directory("guarded/registry").unwrap()).unwrap();
    guarded.push("private", "1", &image::busybox().unwrap()).unwrap();
    // Under its own name: credentials for one host are shown to no other.
    let certs = world.daemon.place().certs.join(guarded.address().to_string());
    fs::create_dir_all(&certs).unwrap();
    let hosts = format!("server = \"http://{}\"\n", guarded.address());
    fs::write(certs.join("hosts.toml"), hosts).unwrap();
    let crictl = world.crictl().unwrap();

    let reference = &format!("{}/private:1", guarded.address());
    let refused = crictl.finish(&["pull", reference]).unwrap();
    assert!(!refused.status.success(), "pulled without credentials");
    let wrong = format!("{USER}:rust-free");
    assert!(!crictl.finish(&["pull", "--creds", &wrong, reference]).unwrap().status.success());
    let right = format!("{USER}:{PASSWORD}");
    crictl.run(&["pull", "--creds", &right, reference]).unwrap();
    assert!(crictl.run(&["images"]).unwrap().contains("private"));
}

#[test]
fn python_s_grpc_is_served_by_its_defaults() {
    let Some(world) = World::new().unwrap() else { return };
    let socket = &world.daemon.place().socket;
    // Debian's, which e2e/setup.sh installs. It names the server by the socket's path.
    let script = format!(
        "import grpc\nchannel = grpc.insecure_channel('unix://{}')\n\
         call = channel.unary_unary('/runtime.v1.RuntimeService/Version')\n\
         for _ in range(3): print(call(b'', timeout=20))",
        socket.display()
    );
    let done = std::process::Command::new("/usr/bin/python3").args(["-c", &script]).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{errors}");
    assert_eq!(said.lines().filter(|line| line.contains("v1")).count(), 3, "{said}");
}
