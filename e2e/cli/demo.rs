//! One pod from pull to removal, driven by the real crictl.

use e2e::crictl::Crictl;
use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::isolation::Isolation;
use e2e::network::Network;
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, image, world};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const IMAGE: &str = "busybox";

/// Times the steps and says what they do.
struct Steps {
    crictl: Crictl,
    times: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs crictl, prints its command line and output, and keeps the time.
    fn step(&mut self, arguments: &[&str]) -> Result<String, Error> {
        let name: Vec<_> = arguments.iter().map(|word| short(word)).collect();
        println!("\n$ crictl {}", name.join(" "));
        let begin = Instant::now();
        let finished = self.crictl.finish(arguments)?;
        self.times.push((name.join(" "), begin.elapsed()));
        let said = format!("{}{}", finished.stdout, finished.stderr);
        println!("{}", said.trim_end());
        if finished.status.success() {
            return Ok(finished.stdout.trim().to_owned());
        }
        let (line, stderr) = (format!("crictl {}", name.join(" ")), finished.stderr);
        Err(Error::Command { line, outcome: format!("ended with {}", finished.status), stderr })
    }
}

/// Long ids and paths are for programs.
fn short(word: &str) -> &str {
    if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return &word[..13];
    }
    word.rsplit_once('/')
        .map_or(word, |(directory, name)| if directory.starts_with("/run") { name } else { word })
}

/// The demonstration of `make run`.
///
/// # Errors
/// When a step fails; everything is cleaned up then too.
pub(crate) fn run() -> Result<(), Error> {
    let isolation = Isolation::enter()?;
    end_on_signals(isolation.sweeper(), Duration::from_secs(300))?;
    println!("Making a busybox image from Debian's package, and pushing it to docker-registry on loopback.");
    let registry = Registry::start(&isolation.directory("registry")?)?;
    registry.push("library/busybox", "latest", &image::busybox()?)?;
    let kind = Kind::from_environment();
    if kind == Kind::Containerd {
        registry.push(e2e::peer::PAUSE_REPOSITORY, e2e::peer::PAUSE_TAG, &world::pause_image()?)?;
    }
    let network = match kind {
        Kind::Corten => Network::BuiltIn,
        Kind::Containerd => {
            Network::List(e2e::network::bridge("1.0.0", "cte0", "10.88.0.0/16", isolation.root()))
        }
    };
    let options = Options {
        kind,
        network,
        mirror: Some(registry.address()),
        metrics: None,
        extra: String::new(),
        programs: e2e::tools::dist(),
    };
    let begin = Instant::now();
    let daemon = Daemon::start(&isolation.directory("r")?, &options)?;
    let crictl = Crictl::new(&daemon.place().socket)?;
    let mut steps = Steps { crictl, times: vec![("start the daemon".to_owned(), begin.elapsed())] };
    let outcome = scenario(&mut steps, &isolation);
    println!("\n{:<50} {:>8}", "step (crictl's own start of 20-60 ms included)", "ms");
    for (name, time) in &steps.times {
        println!("{name:<50.50} {:>8.1}", time.as_secs_f64() * 1e3);
    }
    if outcome.is_err() {
        eprintln!("\nThe daemon's log ends with:\n{}", daemon.log_tail());
    }
    outcome
}

fn scenario(steps: &mut Steps, isolation: &Isolation) -> Result<(), Error> {
    let (pod_file, container_file) = write_configs(isolation)?;
    let (pod_file, container_file) = (text(&pod_file), text(&container_file));
    steps.step(&["version"])?;
    steps.step(&["pull", IMAGE])?;
    let pod = steps.step(&["runp", &pod_file])?;
    let container = steps.step(&["create", &pod, &container_file, &pod_file])?;
    steps.step(&["start", &container])?;
    steps.step(&["ps"])?;
    let status =
        steps.step(&["inspectp", "-o", "go-template", "--template", "{{.status.network.ip}}", &pod])?;
    println!("The pod's address is {status}.");
    steps.step(&["exec", "-s", &container, "sh", "-c", "hostname; ip -o addr show eth0; id"])?;
    // A line of output may still be on its way from the container's start.
    std::thread::sleep(Duration::from_millis(100));
    steps.step(&["logs", &container])?;
    steps.step(&["stop", "--timeout", "2", &container])?;
    steps.step(&["rm", &container])?;
    steps.step(&["stopp", &pod])?;
    steps.step(&["rmp", &pod])?;
    steps.step(&["rmi", IMAGE])?;
    Ok(())
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn write_configs(isolation: &Isolation) -> Result<(PathBuf, PathBuf), Error> {
    let logs = isolation.directory("logs/demo")?;
    let options = json!({"namespace_options": {"pid": 1}});
    let pod = json!({
        "metadata": {"name": "demo", "namespace": "default", "uid": "demo-1", "attempt": 0},
        "hostname": "demo", "log_directory": logs,
        "linux": {"cgroup_parent": isolation.cgroup_parent(), "security_context": options},
    });
    let script = "echo Hello from a pod that Corten runs.; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let container = json!({
        "metadata": {"name": "hello", "attempt": 0}, "image": {"image": IMAGE},
        "labels": {"io.kubernetes.pod.name": "demo", "io.kubernetes.pod.namespace": "default"},
        "command": ["/bin/sh", "-c", script], "log_path": "hello.log",
        "linux": {"security_context": options, "resources": {"memory_limit_in_bytes": 67_108_864}},
    });
    let paths = (isolation.root().join("pod.json"), isolation.root().join("container.json"));
    fs::write(&paths.0, pod.to_string()).at("write", &paths.0)?;
    fs::write(&paths.1, container.to_string()).at("write", &paths.1)?;
    Ok(paths)
}
