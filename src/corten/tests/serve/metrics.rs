//! What a daemon says of itself over HTTP, as a monitoring system takes it.

use super::{Host, PATIENCE};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The status line and the body.
fn get(host: &Host, path: &str) -> (String, String) {
    let mut client = UnixStream::connect(host.path("run/metrics.sock")).unwrap();
    client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn names_and_units_are_as_prometheus_has_them() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.start();
    host.told("READY=1");
    let (_, text) = get(&host, "/metrics");
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return need::skip(need::Need::Tools, "promtool is not installed");
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn series_that_rates_are_taken_of_are_there_from_the_start() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.start();
    host.told("READY=1");
    let (_, text) = get(&host, "/metrics");
    for line in [
        "corten_container_exits_total{code=\"0\",reason=\"Completed\"} 0",
        "corten_container_oom_kills_total 0",
        "corten_shim_deaths_total 0",
        "corten_netns_total{start=\"cold\"} 0",
        "corten_netns_total{start=\"warm\"} 0",
        "corten_shim_starts_total{start=\"cold\"} 0",
        "corten_shim_starts_total{start=\"warm\"} 0",
        "corten_record_write_failures_total 0",
        "corten_cri_requests_total{code=\"OK\",method=\"RunPodSandbox\"} 0",
        "corten_cri_request_duration_seconds_bucket{method=\"RunPodSandbox\",le=\"240\"} 0",
        "corten_image_pulls_total{result=\"success\"} 0",
        "corten_image_pull_failures_total{code=\"NotFound\"} 0",
        "corten_image_gc_runs_total{outcome=\"failure\"} 0",
        "corten_operations_in_flight{method=\"RunPodSandbox\"} 0",
        "corten_operations_stuck{method=\"StopPodSandbox\"} 0",
        "corten_pod_stage_seconds_count{stage=\"cni_add\"} 0",
        "corten_network_ready 0",
        "corten_config_last_reload_successful 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    for start in [
        "corten_build_info{commit=\"",
        "corten_config_info{builtin_network=\"false\",",
        "corten_config_last_reload_success_timestamp_seconds 1",
        "corten_filesystem_available_bytes{filesystem=\"data\"} ",
        "corten_filesystem_reserved_bytes{filesystem=\"images\"} ",
    ] {
        assert!(text.lines().any(|found| found.starts_with(start)), "no {start} in\n{text}");
    }
    assert!(!text.contains("Checkpoint"), "series of what this version does not have:\n{text}");
}

#[test]
fn a_node_that_can_have_no_pods_lives_and_is_not_ready() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.start();
    host.told("READY=1");
    assert!(get(&host, "/healthz").0.contains("200"));
    let (status, body) = get(&host, "/readyz");
    assert!(status.contains("503") && body.contains("the network is not ready: "), "{status}: {body}");
    std::fs::create_dir_all(host.path("net.d")).unwrap();
    let network = r#"{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "loopback"}]}"#;
    std::fs::write(host.path("net.d/10-x.conflist"), network).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let (status, body) = get(&host, "/readyz");
        // What else the host of the test cannot do is no matter of the network.
        if !body.contains("network") {
            return assert_eq!(status.contains("200"), body == "ok\n", "{status}: {body}");
        }
        assert!(Instant::now() < end, "{status}: {body}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a client over TLS gets.
fn get_over_tls(host: &Host, address: &str, headers: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", "127.0.0.1", "-connect", address])
        .arg("-CAfile")
        .arg(host.path("tls.crt"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    client.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn metrics_are_had_over_tls_and_with_the_token_alone() {
    let Some(host) = Host::new() else { return };
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(host.path("tls.key"))
        .arg("-out")
        .arg(host.path("tls.crt"))
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        return need::skip(need::Need::Tools, "openssl is not installed");
    }
    std::fs::write(host.path("token"), "secret\n").unwrap();
    let root = host.path("");
    let root = root.display();
    let socket = format!("address = \"{}\"", host.path("run/metrics.sock").display());
    let settings = format!(
        "address = \"127.0.0.1:0\"\ntls_cert_file = \"{root}tls.crt\"\ntls_key_file = \"{root}tls.key\"\n\
         token_file = \"{root}token\""
    );
    super::replace(&host, &socket, &settings);
    let _daemon = host.start();
    host.told("READY=1");
    host.logged("serving metrics");
    let log = host.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let address = line["address"].as_str().unwrap();
    assert!(get_over_tls(&host, address, "").starts_with("HTTP/1.1 401"));
    let reply = get_over_tls(&host, address, "Authorization: Bearer secret\r\n");
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("corten_build_info"), "{reply}");
    let mut plain = std::net::TcpStream::connect(address).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.0\r\nAuthorization: Bearer secret\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    // It may be a reset.
    let _ = plain.read_to_end(&mut reply);
    assert!(!String::from_utf8_lossy(&reply).contains("corten_build_info"));
}
