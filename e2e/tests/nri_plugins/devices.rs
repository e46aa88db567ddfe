//! Plugins that give containers what the host has: devices, mounts, interfaces, priorities.

use crate::stage::{Pod, Stage};
use crate::table::{ANY, Effect, same};
use e2e::client::Cri;
use e2e::command;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What device-injector does on one annotation, as a script in the container sees it.
fn injects(stage: &Stage, effect: &'static str, annotation: &str, value: &str, script: &str) -> Vec<Effect> {
    let _plugin = stage.plugin("device-injector", "10", &[]);
    vec![(effect, stage.shown(&[(annotation, value)], script))]
}

#[test]
fn device_injector_devices() {
    same("device-injector", &[("a device", "crw-r----- 0 1000 1 5 3")], |stage| {
        let value =
            "- path: /dev/nri-zero\n  type: c\n  major: 1\n  minor: 5\n  file_mode: 416\n  gid: 1000\n";
        let script = "stat -c '%A %u %g %t %T' /dev/nri-zero | tr '\\n' ' '; head -c 3 /dev/nri-zero | wc -c";
        injects(stage, "a device", "devices.noderesource.dev/container.main", value, script)
    });
}

#[test]
fn device_injector_mounts() {
    same("device-injector", &[("a mount that is read-only", "of the host, read-only")], |stage| {
        let source = stage.directory("mounted");
        fs::write(source.join("file"), "of the host, ").unwrap();
        let source = source.display();
        let value =
            format!("- source: {source}\n  destination: /host\n  type: bind\n  options: [bind, ro]\n");
        let script = "cat /host/file; touch /host/other 2>/dev/null && echo writable || echo read-only";
        injects(stage, "a mount that is read-only", "mounts.noderesource.dev", &value, script)
    });
}

#[test]
fn device_injector_sysctls() {
    same("device-injector", &[("a sysctl", "23000 33000")], |stage| {
        let value = "net.ipv4.ip_local_port_range: 23000 33000\n";
        let script = "cat /proc/sys/net/ipv4/ip_local_port_range | tr '\\t' ' '";
        injects(stage, "a sysctl", "sysctl.noderesource.dev", value, script)
    });
}

#[test]
fn device_injector_cdi() {
    same("device-injector", &[("a device of a CDI specification", "of cdi")], |stage| {
        let one = r#"{"name": "one", "containerEdits": {"env": ["FROM=of cdi"]}}"#;
        let text = format!(r#"{{"cdiVersion": "0.6.0", "kind": "vendor.test/device", "devices": [{one}]}}"#);
        stage.add_to_etc(&[("cdi/vendor.json", text)]);
        let value = "- vendor.test/device=one\n";
        injects(stage, "a device of a CDI specification", "cdi-devices.noderesource.dev", value, "echo $FROM")
    });
}

#[test]
fn device_injector_scheduler() {
    same("device-injector", &[("SCHED_BATCH for a scheduler", "policy 3")], |stage| {
        let script = "awk '{ print \"policy\", $41 }' /proc/1/stat";
        injects(
            stage,
            "SCHED_BATCH for a scheduler",
            "scheduling-policy.noderesource.dev",
            "policy: SCHED_BATCH\n",
            script,
        )
    });
}

#[test]
fn device_injector_priority() {
    same("device-injector", &[("an I/O priority", "best-effort: prio 5")], |stage| {
        let value = "class: IOPRIO_CLASS_BE\npriority: 5\n";
        injects(stage, "an I/O priority", "io-priority.noderesource.dev", value, "ionice -p 1")
    });
}

#[test]
fn device_injector_memory_policy() {
    same("device-injector", &[("a memory policy", "bind:0")], |stage| {
        let value = "mode: MPOL_BIND\nnodes: \"0\"\nflags: []\n";
        let script = "awk '{ print $2 }' /proc/1/numa_maps | sort -u | tr '\\n' ' '";
        injects(stage, "a memory policy", "memory-policy.noderesource.dev", value, script)
    });
}

fn ip(words: &[&str]) -> String {
    let mut ip = Command::new(e2e::tools::system("ip").unwrap());
    command::run(ip.args(words), Duration::from_secs(30)).unwrap()
}

/// An interface of the host, and what is left of it when a pod that had it has ended.
fn interface(stage: &Stage, annotation: &str, value: &str, name: &str) -> Vec<Effect> {
    ip(&["link", "add", "given0", "type", "veth", "peer", "name", "kept0"]);
    let cri: Cri = stage.cri();
    let made: Result<Pod, _> = stage.run(&cri, &[(annotation, value)]);
    let Ok(pod) = made else {
        println!("{:?}: {}", stage.subject, made.err().unwrap());
        return vec![("an interface", "refused".to_owned()), ("after its end", "refused".to_owned())];
    };
    let there = |text: &str| if text.contains("given0") { "there" } else { "not there" };
    let inside =
        stage.inside(&cri, &pod, "ip -o link | awk '{ print $2 }' | cut -d@ -f1 | tr -d : | tr '\\n' ' '");
    let inside = if inside.split(' ').any(|one| one == name) { "there" } else { "not there" };
    let outside = there(&ip(&["-o", "link"]));
    stage.end(&cri, &pod);
    vec![
        ("an interface", format!("inside: {inside}, outside: {outside}")),
        ("after its end", format!("outside: {}", there(&ip(&["-o", "link"])))),
    ]
}

const MOVED: [(&str, &str); 2] =
    [("an interface", "inside: there, outside: not there"), ("after its end", "outside: there")];

#[test]
fn network_device_injector() {
    same("network-device-injector", &MOVED, |stage| {
        let _plugin = stage.plugin("network-device-injector", "10", &[]);
        let value = "- name: given0\n  new_name: eth33\n";
        interface(stage, "netdevice.noderesource.dev", value, "eth33")
    });
}

#[test]
fn device_injector_network_devices() {
    // With the pod's network a virtual interface goes where nobody has fetched it before.
    let wanted = [MOVED[0], ("after its end", ANY)];
    same("device-injector", &wanted, |stage| {
        let _plugin = stage.plugin("device-injector", "10", &[]);
        interface(stage, "network-devices.noderesource.dev", "- hostIf: given0\n  name: eth34\n", "eth34")
    });
}
