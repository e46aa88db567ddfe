//! The program as its callers use it: by its command line, its state directory, its exit codes and its log.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;
mod userns;

use harness::Bundle;
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

#[test]
fn a_life_from_create_to_delete() {
    let script = "echo begun > /out/log; trap 'exit 5' TERM; while :; do sleep 0.1; done";
    let Some(bundle) = Bundle::new(script) else { return };
    bundle.create();
    let state = bundle.state();
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!(bundle.id)));
    assert_eq!(state["annotations"]["note"], "kept");
    let pid = std::fs::read_to_string(bundle.path("pid")).unwrap();
    assert_eq!(state["pid"], json!(pid.parse::<i32>().unwrap()));
    assert_eq!(bundle.out("log"), "", "nothing runs before start");
    bundle.ok(&["start", &bundle.id]);
    bundle.wait_out("log", "begun");
    assert_eq!(bundle.state()["status"], "running");
    assert!(bundle.fails(&["start", &bundle.id]).contains("running"));
    assert!(bundle.fails(&["delete", &bundle.id]).contains("not stopped"));
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert!(pids.contains(&pid.parse().unwrap()), "{pids:?}");
    bundle.ok(&["kill", &bundle.id, "SIGTERM"]);
    bundle.wait_for("stopped");
    assert_eq!(bundle.fails(&["kill", &bundle.id, "9"]), "container not running");
    bundle.ok(&["delete", &bundle.id]);
    assert!(bundle.fails(&["state", &bundle.id]).contains("does not exist"));
    assert!(bundle.fails(&["delete", &bundle.id]).contains("does not exist"));
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn run_ends_with_the_program_s_code() {
    let Some(bundle) = Bundle::new("echo out; echo err >&2; hostname; echo $COLOUR; exit 7") else { return };
    let output = bundle.run(&["run", "--bundle", &bundle.bundle(), &bundle.id]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\ninside\nrust\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert!(bundle.fails(&["state", &bundle.id]).contains("does not exist"));
}

#[test]
fn a_program_that_is_not_there_fails_the_start() {
    let missing = |config: &mut Value| config["process"]["args"] = json!(["no-such-program"]);
    let Some(bundle) = Bundle::with("", missing) else { return };
    bundle.create();
    let error = bundle.fails(&["start", &bundle.id]);
    assert!(error.contains("\"no-such-program\": executable file not found in $PATH"), "{error}");
    bundle.wait_for("stopped");
    bundle.ok(&["delete", &bundle.id]);
}

#[test]
fn what_is_not_done_is_refused_and_leaves_nothing() {
    let odd = |config: &mut Value| config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    let Some(bundle) = Bundle::with("true", odd) else { return };
    let create = ["create", "--bundle", &bundle.bundle(), &bundle.id];
    assert!(bundle.fails(&create).contains("linux.personality"));
    let bad_mount = |config: &mut Value| {
        config["mounts"].as_array_mut().unwrap().push(
            json!({ "destination": "/x", "type": "bind", "source": "/nowhere/at/all", "options": ["bind"] }),
        );
    };
    let bundle = Bundle::with("true", bad_mount).unwrap();
    let create = ["create", "--bundle", &bundle.bundle(), &bundle.id];
    assert!(bundle.fails(&create).contains("/nowhere/at/all"));
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
    assert_eq!(bundle.ok(&["list", "--quiet"]), "");
}

#[test]
fn commands_run_beside_the_first_process() {
    let Some(bundle) = Bundle::new("sleep 600") else { return };
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    let exec = |script: &str| bundle.run(&["exec", "--env", "A=b", &bundle.id, "sh", "-c", script]);
    let output = exec("echo $A $COLOUR; hostname; exit 3");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b rust\ninside\n");
    let process = json!({
        "args": ["sh", "-c", "id -u > /out/uid; sleep 600"], "cwd": "/tmp", "user": { "uid": 12, "gid": 13 },
        "env": ["PATH=/usr/bin"]
    });
    std::fs::write(bundle.path("process.json"), process.to_string()).unwrap();
    std::fs::set_permissions(bundle.path("rootfs/out"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let (file, pid_file) = (bundle.path("process.json"), bundle.path("exec.pid"));
    // What is there stays what it is: a link, as a device would.
    std::os::unix::fs::symlink("elsewhere.pid", &pid_file).unwrap();
    bundle.ok(&[
        "exec",
        "--detach",
        "--process",
        file.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        &bundle.id,
    ]);
    bundle.wait_out("uid", "12");
    assert!(pid_file.is_symlink());
    let pid: i32 = std::fs::read_to_string(bundle.path("elsewhere.pid")).unwrap().parse().unwrap();
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert!(pids.contains(&pid), "{pids:?} without {pid}");
    let missing = bundle.run(&["exec", &bundle.id, "no-such-program"]);
    assert_eq!(missing.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("executable file not found in $PATH"));
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn hooks_run_in_their_order_and_namespaces() {
    let Some(bundle) = Bundle::with("echo program >> /out/order", |config| {
        let out = config["mounts"][4]["source"].as_str().unwrap().to_owned();
        let hook = |name: &str, out: &str| {
            let script = format!("cat > {out}/{name}.json; echo {name} $(hostname) >> {out}/order");
            json!([{ "path": "/usr/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin"] }])
        };
        config["hooks"] = json!({
            "prestart": hook("prestart", &out), "createRuntime": hook("createRuntime", &out),
            "createContainer": hook("createContainer", &out), "startContainer": hook("startContainer", "/out"),
            "poststart": hook("poststart", &out), "poststop": hook("poststop", &out)
        });
    }) else {
        return;
    };
    bundle.create();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let before = format!("prestart {host}\ncreateRuntime {host}\ncreateContainer inside\n");
    assert_eq!(bundle.out("order"), before);
    bundle.ok(&["start", &bundle.id]);
    bundle.wait_for("stopped");
    bundle.ok(&["delete", &bundle.id]);
    let order = bundle.out("order");
    for (earlier, later) in
        [("startContainer inside", "program"), ("program", "poststop"), ("poststart", "poststop")]
    {
        assert!(order.find(earlier).unwrap() < order.find(later).unwrap(), "{order}");
    }
    let state: Value = serde_json::from_str(&bundle.out("createRuntime.json")).unwrap();
    assert_eq!((&state["status"], &state["id"]), (&json!("creating"), &json!(bundle.id)));
    assert!(state["pid"].as_i64().unwrap() > 1);
    let state: Value = serde_json::from_str(&bundle.out("poststop.json")).unwrap();
    assert_eq!(state["status"], "stopped");
}

#[test]
fn a_failing_hook_of_the_runtime_fails_create() {
    let hook = |config: &mut Value| {
        config["hooks"] = json!({ "createRuntime": [{ "path": "/usr/bin/false" }] });
    };
    let Some(bundle) = Bundle::with("true", hook) else { return };
    let error = bundle.fails(&["create", "--bundle", &bundle.bundle(), &bundle.id]);
    assert!(error.contains("createRuntime hook /usr/bin/false"), "{error}");
    assert_eq!(bundle.ok(&["list", "--quiet"]), "");
}

#[test]
fn namespaces_are_joined_by_path() {
    let join = |config: &mut Value| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!(format!("/proc/{}/ns/net", std::process::id()));
            }
        }
    };
    let Some(bundle) = Bundle::with("readlink /proc/self/ns/net /proc/self/ns/uts", join) else { return };
    let output = bundle.run(&["run", "--bundle", &bundle.bundle(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], own("net"));
    assert_ne!(lines[1], own("uts"));
}

#[test]
fn limits_pauses_and_usage() {
    let limit =
        |config: &mut Value| config["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 } });
    let Some(bundle) = Bundle::with("sleep 600", limit) else { return };
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    let stats = || -> Value {
        serde_json::from_str(bundle.ok(&["events", "--stats", &bundle.id]).lines().next().unwrap()).unwrap()
    };
    assert_eq!(stats()["data"]["memory"]["usage"]["limit"], json!(64 << 20));
    bundle.ok(&["update", "--memory", "134217728", &bundle.id]);
    assert_eq!(stats()["data"]["memory"]["usage"]["limit"], json!(128 << 20));
    assert!(stats()["data"]["pids"]["current"].as_u64().unwrap() >= 1);
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.state()["status"], "paused");
    assert!(bundle.fails(&["exec", &bundle.id, "true"]).contains("paused"));
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(bundle.state()["status"], "running");
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.wait_for("stopped");
    bundle.ok(&["delete", &bundle.id]);
}

/// The control file of a process's limit of pids, and the number of those that there are.
fn limit_of_pids(pid: i32) -> (PathBuf, u64) {
    let places = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let v1 = Path::new("/sys/fs/cgroup/pids");
    let (mount, tag) = if v1.exists() { (v1, ":pids:/") } else { (Path::new("/sys/fs/cgroup"), "0::/") };
    let place = places.lines().find_map(|line| line.split_once(tag)).unwrap().1;
    let count = std::fs::read_to_string(mount.join(place).join("pids.current")).unwrap();
    (mount.join(place).join("pids.max"), count.trim().parse().unwrap())
}

#[test]
fn a_program_beside_a_full_container_takes_no_place_but_its_own() {
    let full = |more: &[&str]| {
        let more = more.to_vec();
        let bundle = Bundle::with("sleep 600", |config| {
            for set in ["bounding", "effective", "permitted"] {
                let known = &mut config["process"]["capabilities"][set];
                if known.is_null() {
                    *known = json!([]);
                }
                known.as_array_mut().unwrap().extend(more.iter().map(|name| json!(name)));
            }
            config["linux"]["resources"] = json!({ "pids": { "limit": 100 } });
        })?;
        bundle.create();
        bundle.ok(&["start", &bundle.id]);
        Some(bundle)
    };
    let Some(bundle) = full(&[]) else { return };
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let (limit, count) = limit_of_pids(i32::try_from(pid).unwrap());
    for free in [5, 1, 0] {
        std::fs::write(&limit, (count + free).to_string()).unwrap();
        assert_eq!(bundle.ok(&["exec", &bundle.id, "echo", "told"]), "told\n", "{free} free");
        // Nothing of it waits to be reaped by somebody else.
        assert_eq!(limit_of_pids(i32::try_from(pid).unwrap()).1, count, "{free} free");
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    // Who could keep a process outside of the limit gets none there.
    let Some(bundle) = full(&["CAP_SYS_PTRACE"]) else { return };
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let (limit, count) = limit_of_pids(i32::try_from(pid).unwrap());
    std::fs::write(&limit, (count + 1).to_string()).unwrap();
    let error = bundle.fails(&["exec", &bundle.id, "true"]);
    assert!(error.contains("temporarily unavailable"), "{error}");
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn a_terminal_is_handed_over_on_a_socket() {
    let tty = |config: &mut Value| config["process"]["terminal"] = json!(true);
    let Some(bundle) = Bundle::with("test -t 0 && test -t 1 && echo it is one; cat /dev/null", tty) else {
        return;
    };
    assert!(bundle.fails(&["create", "--bundle", &bundle.bundle(), &bundle.id]).contains("--console-socket"));
    let path = bundle.path("tty.sock");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.ok(&[
        "create",
        "--bundle",
        &bundle.bundle(),
        "--console-socket",
        path.to_str().unwrap(),
        &bundle.id,
    ]);
    let (stream, _) = listener.accept().unwrap();
    let (_, master) = sys::socket::receive(stream.as_fd(), &mut [0; 64]).unwrap();
    bundle.ok(&["start", &bundle.id]);
    bundle.wait_for("stopped");
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    let mut master = std::fs::File::from(master.unwrap());
    // The end of a terminal without other end is an error.
    while let Ok(read) = std::io::Read::read(&mut master, &mut buffer) {
        if read == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..read]);
    }
    assert_eq!(String::from_utf8_lossy(&text), "it is one\r\n");
    bundle.ok(&["delete", &bundle.id]);
}

#[test]
fn features_and_versions_are_told() {
    let Some(bundle) = Bundle::new("true") else { return };
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["hooks"].as_array().unwrap().contains(&json!("createRuntime")));
    assert!(bundle.ok(&["--version"]).starts_with("corten-oci "));
    let unknown = bundle.run(&["checkpoint", "x"]);
    assert!(!unknown.status.success());
}
