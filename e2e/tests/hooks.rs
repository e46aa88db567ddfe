//! Hooks that vendors' descriptions of devices bring: run by Corten's own handler, and by an OCI runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pods::shell;
use e2e::proto::CdiDevice;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

/// A vendor's description of `widget`, each of whose hooks adds a line to `order`, and of `broken`.
fn describe(dir: &Path) {
    let hook = |name: &str, more: &str| {
        let out = dir.display();
        let script = format!(
            "cat > {out}/{name}.json; grep SigIgn /proc/self/status > {out}/{name}.ignored; umask > {out}/{name}.umask; readlink /proc/self/ns/net > {out}/{name}.net; echo {name} $(cat /proc/sys/kernel/hostname) >> {out}/order; {more}"
        );
        json!({ "hookName": name, "path": "/bin/sh", "args": ["sh", "-c", script],
            "env": ["PATH=/usr/bin:/bin"], "timeout": 60 })
    };
    let out = dir.display();
    let root = format!(
        "bundle=$(sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/' {out}/createContainer.json); \
         root=$(grep -o '\"root\":{{\"path\":\"[^\"]*' $bundle/config.json | sed 's/.*\"//'); echo made > $root/by-hook"
    );
    let inside = json!({ "hookName": "startContainer", "path": "/bin/sh",
        "args": ["sh", "-c", "/bin/busybox echo started >> /by-hook"] });
    let document = json!({
        "cdiVersion": "0.6.0", "kind": "vendor.test/hooks",
        "devices": [
            { "name": "widget", "containerEdits": { "hooks": [
                hook("createRuntime", ""), hook("createContainer", &root), inside, hook("poststart", ""),
                hook("poststop", "")
            ] } },
            { "name": "broken", "containerEdits": { "hooks": [
                { "hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 3"] }
            ] } }
        ]
    });
    fs::write(dir.join("vendor.json"), document.to_string()).unwrap();
}

/// Waits for a line of `order`.
fn wait_for(dir: &Path, name: &str) -> String {
    let since = Instant::now();
    loop {
        let order = fs::read_to_string(dir.join("order")).unwrap_or_default();
        if order.lines().any(|line| line.starts_with(name)) {
            return order;
        }
        assert!(since.elapsed() < SOON, "no {name}: {order}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runs_hooks(handler: &str) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    describe(dir);
    let binary = tools::corten("corten-oci").unwrap();
    let lines = format!(
        "[runtime]\ncdi_spec_dirs = [{dir:?}]\n[handlers.other]\ntype = \"oci\"\nbinary = {binary:?}\n"
    );
    let world = World::with(|mut options| {
        options.kind = Kind::Corten;
        options.extra = lines;
        options
    });
    let Some(world) = world.unwrap() else { return };
    let config = world.pod("hooked").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod_by(&config, handler).await.unwrap();
        let with = |name: &str, device: &str, script: &str| {
            let mut container = shell(name, BUSYBOX, script);
            container.cdi_devices = vec![CdiDevice { name: format!("vendor.test/hooks={device}") }];
            container
        };
        let broken = cri.create(&pod, &with("broken", "broken", "true"), &config).await;
        let error = broken.unwrap_err().to_string();
        assert!(error.contains("createContainer hook") && error.contains("no luck"), "{error}");

        let script = "cat /by-hook; stat -c %a:%n /dev/null; umask";
        let id = cri.create(&pod, &with("main", "widget", script), &config).await.unwrap();
        // A runtime is run in the daemon's namespaces, as the native handler's first hooks are.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
        let order = fs::read_to_string(dir.join("order")).unwrap();
        assert_eq!(order, format!("createRuntime {host}\ncreateContainer {}\n", config.hostname));
        cri.start(&id).await.unwrap();
        wait_for(dir, "poststart");
        wait_exited(&cri, &id, SOON).await.unwrap();
        let log = fs::read_to_string(world.log("hooked", "main")).unwrap();
        assert!(log.contains("F made") && log.contains("F started"), "{log}");
        assert!(log.contains("F 666:/dev/null") && log.contains("F 0022"), "{log}");
        cri.remove(&id).await.unwrap();
        let order = wait_for(dir, "poststop");
        assert_eq!(order.lines().count(), 4, "{order}");
        for (hook, status) in
            [("createRuntime", "creating"), ("createContainer", "creating"), ("poststop", "stopped")]
        {
            let text = fs::read_to_string(dir.join(format!("{hook}.json"))).unwrap();
            let state: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&state["status"], &state["id"]), (&json!(status), &json!(id)), "{text}");
        }
        for hook in ["createRuntime", "createContainer", "poststart", "poststop"] {
            let ignored = fs::read_to_string(dir.join(format!("{hook}.ignored"))).unwrap();
            assert_eq!(ignored, "SigIgn:\t0000000000000000\n", "{hook}");
            let umask = fs::read_to_string(dir.join(format!("{hook}.umask"))).unwrap();
            assert_eq!(umask, "0022\n", "{hook}");
        }
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        for (hook, of_host) in
            [("createRuntime", true), ("createContainer", false), ("poststart", true), ("poststop", true)]
        {
            let told = fs::read_to_string(dir.join(format!("{hook}.net"))).unwrap();
            assert_eq!(Path::new(told.trim()) == own, of_host, "{hook} in the network {told}");
        }
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn the_native_handler_runs_the_hooks_of_devices() {
    runs_hooks("");
}

#[test]
fn a_runtime_runs_the_hooks_of_devices() {
    runs_hooks("other");
}
