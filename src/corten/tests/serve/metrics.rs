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
        "corten_record_write_failures_total 0",
        "corten_cri_requests_total{code=\"OK\",method=\"RunPodSandbox\"} 0",
        "corten_cri_request_duration_seconds_bucket{method=\"RunPodSandbox\",le=\"240\"} 0",
        "corten_image_pulls_total{result=\"success\"} 0",
        "corten_image_pull_failures_total{code=\"NotFound\"} 0",
        "corten_image_gc_runs_total{outcome=\"failure\"} 0",
        "corten_operations_in_flight{method=\"RunPodSandbox\"} 0",
        "corten_operations_stuck{method=\"StopPodSandbox\"} 0",
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
