//! What an operator asks of a daemon: `corten status`, `corten explain`, `corten debug bundle`.

use super::Host;
use serde_json::Value;
use std::process::{Command, Output};

impl Host {
    fn corten(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command.args(arguments).arg("--config").arg(self.path("corten.toml")).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_daemon_tells_its_status_to_people_and_to_programs() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    host.told("READY=1");
    let told = host.corten(&["status", "--json"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    let status: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(status["pid"].as_u64(), Some(u64::from(daemon.0.id())));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let network =
        status["conditions"].as_array().unwrap().iter().find(|one| one["name"] == "NetworkReady").unwrap();
    assert_eq!(
        (network["status"].as_bool(), network["reason"].as_str()),
        (Some(false), Some("NetworkPluginNotReady"))
    );
    assert_eq!((status["network"].is_null(), status["pods"]["ready"].as_u64()), (true, Some(0)));
    assert_eq!(status["recovery"]["pods"], 0);
    let settings = status["settings"].as_array().unwrap();
    assert!(
        settings.iter().any(|one| one[0] == "network.builtin_network" && one[1] == false),
        "{settings:?}"
    );
    assert!(!settings.iter().any(|one| one[0] == "daemon.workers"), "that is the default");
    let disks: Vec<&str> =
        status["disks"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(disks, ["state", "data", "images"]);

    let said = text(&host.corten(&["status"]).stdout);
    for line in [
        "NetworkReady      false  NetworkPluginNotReady",
        "network           none in force",
        "in flight         nothing",
        "nri               on, no plugin; ",
    ] {
        assert!(said.lines().any(|one| one.starts_with(line)), "no {line} in\n{said}");
    }
    let unknown = host.corten(&["explain", "pod", "test/web"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("test/web"), "{}", text(&unknown.stderr));
    drop(daemon);
    let down = host.corten(&["status"]);
    assert!(
        !down.status.success() && text(&down.stderr).contains("no daemon listens"),
        "{}",
        text(&down.stderr)
    );
}

/// The files of a bundle.
fn bundle(host: &Host) -> std::path::PathBuf {
    let (archive, unpacked) = (host.path("bundle.tar.gz"), host.path("unpacked"));
    let made = host.corten(&["debug", "bundle", "--output", archive.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(host.mode("bundle.tar.gz"), 0o600);
    let _ = std::fs::remove_dir_all(&unpacked);
    std::fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked).status().unwrap();
    assert!(tar.success());
    unpacked.join("corten-debug")
}

#[test]
fn a_bundle_has_what_a_report_needs_and_no_secrets_with_and_without_a_daemon() {
    let Some(host) = Host::new() else { return };
    std::fs::create_dir_all(host.path("certs.d/registry.test")).unwrap();
    let hosts = "server = \"https://registry.test\"\n[host.\"https://mirror.test\".header]\nAuthorization = \"Bearer verysecret\"\n";
    std::fs::write(host.path("certs.d/registry.test/hosts.toml"), hosts).unwrap();
    std::fs::create_dir_all(host.path("certs.d/pipe.test")).unwrap();
    let pipe = host.path("certs.d/pipe.test/hosts.toml");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    std::fs::create_dir_all(host.path("net.d")).unwrap();
    let list = r#"{"cniVersion": "1.0.0", "name": "net", "api_token": "verysecret", "plugins": [{"type": "bridge"}]}"#;
    std::fs::write(host.path("net.d/10-net.conflist"), list).unwrap();
    let daemon = host.start();
    host.told("READY=1");
    let files = bundle(&host);
    let read = |name: &str| {
        std::fs::read_to_string(files.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let status: Value = serde_json::from_str(&read("status.json")).unwrap();
    assert_eq!(status["pid"].as_u64(), Some(u64::from(daemon.0.id())));
    assert!(read("metrics.txt").contains("corten_build_info"));
    assert!(read("config.txt").contains("log.level = \"info\""));
    assert!(read("check.txt").contains(" kernel "));
    assert!(read("kernel/self-mountinfo").contains(" / "));
    assert!(read("processes.txt").contains(&format!("{} ", daemon.0.id())));
    let certs = files.join("certs.d");
    let certs = std::fs::read_dir(certs)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    assert!(certs.collect::<String>().contains("server = \"https://registry.test\""));
    let grep = Command::new("grep").args(["-r", "verysecret"]).arg(&files).output().unwrap();
    assert_eq!(text(&grep.stdout), "");
    let notes = read("notes.txt");
    assert!(notes.contains("hosts.toml: not a regular file"), "a pipe is not waited for: {notes}");

    drop(daemon);
    let record = host.path("run/pods/p1");
    std::fs::create_dir_all(&record).unwrap();
    let pod = "corten pod 1\n{\"id\": \"p1\", \"config\": {\"annotations\": {\"a\": \"verysecret\"}, \"labels\": {\"app\": \"web\"}}}";
    std::fs::write(record.join("pod.json"), pod).unwrap();
    std::fs::write(host.path("corten.toml"), format!("state_dir = {:?}\nno_such = 1\n", host.path("run")))
        .unwrap();
    let files = bundle(&host);
    let read = |name: &str| {
        std::fs::read_to_string(files.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let notes = read("notes.txt");
    assert!(notes.contains("status.json: no daemon listens"), "{notes}");
    assert!(notes.contains("unknown key `no_such`"), "{notes}");
    let without = Command::new(env!("CARGO_BIN_EXE_corten"))
        .args(["debug", "bundle", "--config", "/nonexistent/corten.toml", "--output"])
        .arg(host.path("without.tar.gz"))
        .output()
        .unwrap();
    assert!(without.status.success(), "a broken node is to be looked at, too: {}", text(&without.stderr));
    let said = text(&without.stderr);
    assert!(
        said.contains("cannot read /nonexistent/corten.toml") && said.contains("looked for in /run/corten"),
        "{said}"
    );
    let record = read("records/p1/p1-pod.json");
    assert!(record.contains("web") && !record.contains("verysecret"), "{record}");
}
