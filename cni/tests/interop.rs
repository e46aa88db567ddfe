//! The plugins as binaries, and beside the standard plugins where those are installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use cni::types::{CniResult, Command, Version};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{Container, ask, on_host, with_result};

/// Where Debian's package containernetworking-plugins puts them.
const STANDARD: &str = "/usr/lib/cni";

fn ours(plugin: &str) -> PathBuf {
    PathBuf::from(match plugin {
        "bridge" => env!("CARGO_BIN_EXE_bridge"),
        "host-local" => env!("CARGO_BIN_EXE_host-local"),
        "portmap" => env!("CARGO_BIN_EXE_portmap"),
        "loopback" => env!("CARGO_BIN_EXE_loopback"),
        _ => unreachable!(),
    })
}

fn standard(plugin: &str) -> Option<PathBuf> {
    let path = Path::new(STANDARD).join(plugin);
    if !path.exists() {
        need::skip(need::Need::Tools, &format!("no {}", path.display()));
    }
    path.exists().then_some(path)
}

/// Executes a plugin as a runtime does: its output, and whether it succeeded.
fn execute(plugin: &Path, command: Command, pod: &Container, path: &OsStr, conf: &Value) -> (Value, bool) {
    let mut child = std::process::Command::new(plugin)
        .env("CNI_COMMAND", command.as_str())
        .env("CNI_CONTAINERID", &pod.id)
        .env("CNI_NETNS", pod.netns.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=pod")
        .env("CNI_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), output.status.success())
}

fn succeed(plugin: &Path, command: Command, pod: &Container, path: &OsStr, conf: &Value) -> Value {
    let (answer, success) = execute(plugin, command, pod, path, conf);
    assert!(success, "{} {command}: {answer}", plugin.display());
    answer
}

#[test]
fn a_chain_of_binaries_in_every_version() {
    on_host("binaries", |host| {
        let path = ours("bridge").parent().unwrap().as_os_str().to_owned();
        let dir = Path::new(&path);
        for version in Version::ALL {
            let pod = host.container(&format!("pod-{}", version.as_str().replace('.', "-")));
            let mut conf = host.bridge_conf();
            conf["cniVersion"] = json!(version.as_str());
            let result = succeed(&ours("bridge"), Command::Add, &pod, &path, &conf);
            assert_eq!(result["cniVersion"], version.as_str(), "{}", dir.display());
            let parsed = CniResult::from_value(result.clone(), version).unwrap();
            assert_eq!(parsed.ips.len(), 2);
            assert_eq!(parsed.interfaces.len(), if version < Version::V0_3_0 { 0 } else { 3 });
            pod.serve(80);
            ask(parsed.ips[0].address.addr(), 80).unwrap();

            let mut ports = json!({
                "cniVersion": version.as_str(), "name": "testnet", "type": "portmap", "prevResult": result,
                "runtimeConfig": {"portMappings": [
                    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
            });
            let chained = succeed(&ours("portmap"), Command::Add, &pod, &path, &ports);
            assert_eq!(CniResult::from_value(chained, version).unwrap(), parsed);
            ask(parsed.ips[0].gateway.unwrap(), 8080).unwrap();
            conf["prevResult"] = ports["prevResult"].clone();
            if version >= Version::V0_4_0 {
                succeed(&ours("bridge"), Command::Check, &pod, &path, &conf);
                succeed(&ours("portmap"), Command::Check, &pod, &path, &ports);
            } else {
                let (error, success) = execute(&ours("bridge"), Command::Check, &pod, &path, &conf);
                assert!(!success && error["code"] == 1, "{error}");
            }
            if version >= Version::V1_1_0 {
                succeed(&ours("bridge"), Command::Status, &pod, &path, &conf);
                ports["cni.dev/valid-attachments"] = json!([]);
                succeed(&ours("portmap"), Command::Gc, &pod, &path, &ports);
            }
            succeed(&ours("portmap"), Command::Del, &pod, &path, &ports);
            succeed(&ours("bridge"), Command::Del, &pod, &path, &conf);
            assert_eq!(host.leftovers(), [""; 0]);
        }
    });
}

#[test]
fn a_failure_is_printed_as_the_specification_says() {
    on_host("failure", |host| {
        let pod = host.container("pod");
        let conf = json!({"cniVersion": "1.0.0", "name": "testnet", "type": "bridge", "vlan": 3});
        let (error, success) = execute(&ours("bridge"), Command::Add, &pod, OsStr::new(""), &conf);
        assert!(!success);
        assert_eq!((error["cniVersion"].as_str(), error["code"].as_u64()), (Some("1.0.0"), Some(2)));
        assert!(error["msg"].as_str().unwrap().contains("vlan"));
    });
}

#[test]
fn loopback_comes_up_and_goes_down() {
    on_host("loopback", |host| {
        let pod = host.container("pod");
        let conf = json!({"cniVersion": "1.1.0", "name": "lo", "type": "loopback"});
        let path = OsStr::new(STANDARD);
        let down = succeed(&ours("loopback"), Command::Del, &pod, path, &conf);
        assert_eq!(down, Value::Null);
        assert!(!execute(&ours("loopback"), Command::Check, &pod, path, &conf).1);
        let result = succeed(&ours("loopback"), Command::Add, &pod, path, &conf);
        assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
        assert_eq!(result["interfaces"][0]["name"], "lo");
        succeed(&ours("loopback"), Command::Check, &pod, path, &conf);
        if let Some(standard) = standard("loopback") {
            let mut conf = conf.clone();
            conf["cniVersion"] = json!("1.0.0");
            let other = succeed(&standard, Command::Add, &pod, path, &conf);
            assert_eq!(other["ips"], result["ips"]);
        }
    });
}

#[test]
fn addresses_are_shared_with_the_standard_plugin() {
    on_host("host-local", |host| {
        let Some(standard) = standard("host-local") else { return };
        let mut conf = host.bridge_conf();
        conf["cniVersion"] = json!("1.0.0");
        conf["type"] = json!("host-local");
        let path = OsStr::new(STANDARD);
        let pods: Vec<_> = (0..6).map(|n| host.container(&format!("pod{n}"))).collect();
        for (at, pod) in pods.iter().enumerate() {
            let expected = format!("10.123.0.{}/24", at + 2);
            let result = if at % 2 == 0 {
                CniResult::from_value(succeed(&standard, Command::Add, pod, path, &conf), Version::V1_0_0)
                    .unwrap()
            } else {
                pod.add(&conf)
            };
            assert_eq!(result.ips[0].address.to_string(), expected);
            assert_eq!(result.ips.len(), 2);
        }
        for pod in &pods {
            succeed(&standard, Command::Check, pod, path, &conf);
            pod.run(Command::Check, &conf).unwrap();
        }
        for (at, pod) in pods.iter().enumerate() {
            if at % 2 == 0 {
                pod.del(&conf);
            } else {
                succeed(&standard, Command::Del, pod, path, &conf);
            }
        }
        assert_eq!(host.reserved(), [""; 0]);
    });
}

#[test]
fn the_standard_bridge_takes_our_addresses_and_ours_takes_those_of_any_plugin() {
    on_host("mixed", |host| {
        let (Some(bridge), Some(_)) = (standard("bridge"), standard("static")) else { return };
        let pod = host.container("pod");
        let mut conf = host.bridge_conf();
        conf["cniVersion"] = json!("1.0.0");
        conf["ipMasq"] = json!(false);
        let path = ours("host-local").parent().unwrap().as_os_str().to_owned();
        let result = succeed(&bridge, Command::Add, &pod, &path, &conf);
        let result = CniResult::from_value(result, Version::V1_0_0).unwrap();
        pod.serve(80);
        ask(result.ips[0].address.addr(), 80).unwrap();
        // What the one has made, the other can check and delete.
        pod.run(Command::Check, &with_result(&conf, &result)).unwrap();
        pod.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);

        let pod = host.container("other");
        conf["ipam"] = json!({"type": "static",
            "addresses": [{"address": "10.123.0.77/24", "gateway": "10.123.0.1"}]});
        let mut call = pod.call(Command::Add, &conf);
        call.path = vec![PathBuf::from(STANDARD)];
        let result = host.plugins.run(&call).unwrap().unwrap();
        assert_eq!(result.ips[0].address.to_string(), "10.123.0.77/24");
        pod.serve(80);
        ask(result.ips[0].address.addr(), 80).unwrap();
        let conf = with_result(&conf, &result);
        for command in [Command::Check, Command::Del] {
            let mut call = pod.call(command, &conf);
            call.path = vec![PathBuf::from(STANDARD)];
            host.plugins.run(&call).unwrap();
        }
        call.path = Vec::new();
        assert!(host.plugins.run(&call).unwrap_err().msg.contains("no IPAM plugin"));
        assert_eq!(host.leftovers(), [""; 0]);
    });
}
