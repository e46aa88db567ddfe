//! The life of a daemon as its supervisor sees it: readiness, a rival, reload, drain, death and return. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "serve/admin.rs"]
mod admin;
#[path = "serve/files.rs"]
mod files;
#[path = "serve/metrics.rs"]
mod metrics;
#[path = "serve/operator.rs"]
mod operator;
#[path = "serve/threads.rs"]
mod threads;

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A place for daemons of their own: directories, configuration, the supervisor's end of `sd_notify`.
struct Host {
    directory: tempfile::TempDir,
    notify: UnixDatagram,
}

impl Host {
    /// `None`, with a word about it, for want of root.
    fn new() -> Option<Self> {
        if !need::root("a daemon needs root") {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = Self { directory, notify };
        host.configure("info");
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, level: &str) {
        let root = self.directory.path().display();
        // Nothing is launched here, so any executable passes for the shim.
        let text = format!(
            r#"
            socket = "{root}/run/corten.sock"
            state_dir = "{root}/run"
            data_dir = "{root}/data"
            [log]
            level = "{level}"
            format = "json"
            [metrics]
            address = "{root}/run/metrics.sock"
            [images]
            certs_dir = "{root}/certs.d"
            [network]
            conf_dir = "{root}/net.d"
            builtin_network = false
            [runtime]
            shim = "/bin/true"
            pause = "/bin/true"
            netns_dir = "{root}/netns"
            "#
        );
        std::fs::write(self.path("corten.toml"), text).unwrap();
    }

    fn start(&self) -> Daemon {
        self.run(
            Command::new(env!("CARGO_BIN_EXE_corten"))
                .args(["serve", "--config"])
                .arg(self.path("corten.toml")),
        )
    }

    fn run(&self, command: &mut Command) -> Daemon {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let child = command
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("WATCHDOG_USEC", "200000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon(child)
    }

    /// Waits until the supervisor has been told so.
    fn told(&self, wanted: &str) {
        let begin = Instant::now();
        let mut message = [0; 4096];
        while begin.elapsed() < PATIENCE {
            let Ok(length) = self.notify.recv(&mut message) else { break };
            if std::str::from_utf8(&message[..length]).unwrap().lines().any(|line| line == wanted) {
                return;
            }
        }
        panic!("never told {wanted}; the log:\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn logged(&self, wanted: &str) {
        self.until(|| self.log().contains(wanted), wanted);
    }

    fn until(&self, is_so: impl Fn() -> bool, what: &str) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < PATIENCE, "never came {what}; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name)).unwrap().mode() & 0o7777
    }
}

/// A daemon that is killed when a test fails.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "still running");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_tells_what_it_does_on_sigusr1_and_lives_on_through_others() {
    let Some(host) = Host::new() else { return };
    let mut daemon = host.start();
    host.told("READY=1");
    for signal in
        [rustix::process::Signal::USR2, rustix::process::Signal::ALARM, rustix::process::Signal::USR1]
    {
        daemon.signal(signal);
    }
    host.logged("what is under way, for SIGUSR1");
    host.logged("thread: ");
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.end().success(), "{}", host.log());
}

#[test]
fn a_daemon_says_when_it_is_ready_and_ends_well_on_sigterm() {
    let Some(host) = Host::new() else { return };
    let mut daemon = host.start();
    host.told("READY=1");
    host.told("WATCHDOG=1");
    assert_eq!(host.mode("run/corten.sock"), 0o600);
    assert_eq!((host.mode("run"), host.mode("data")), (0o711, 0o700));
    let mut client = UnixStream::connect(host.path("run/metrics.sock")).unwrap();
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut metrics = String::new();
    client.read_to_string(&mut metrics).unwrap();
    assert!(metrics.contains("\ncorten_pods{state=\"ready\"} 0\n"), "{metrics}");
    let address = host.path("run/metrics.sock");
    host.logged(&format!("\"message\":\"serving metrics\",\"address\":\"{}\"", address.display()));
    daemon.signal(rustix::process::Signal::TERM);
    host.told("STOPPING=1");
    assert_eq!(daemon.end().code(), Some(0), "{}", host.log());
    assert!(!host.path("run/corten.sock").exists());
    for line in host.log().lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "no JSON: {line}");
    }
}

#[test]
fn a_second_daemon_leaves_at_once_and_says_who_holds_the_directory() {
    let Some(host) = Host::new() else { return };
    let first = host.start();
    host.told("READY=1");
    let mut second = host.start();
    let status = second.end();
    assert_eq!(status.code(), Some(1));
    let expected = format!("{} is in use by process {} (corten)", host.path("run").display(), first.0.id());
    assert!(host.log().contains(&expected), "{}", host.log());
    UnixStream::connect(host.path("run/corten.sock")).expect("the first one still serves");
}

#[test]
fn a_killed_daemon_leaves_nothing_in_its_successor_s_way() {
    let Some(host) = Host::new() else { return };
    let mut first = host.start();
    host.told("READY=1");
    first.0.kill().unwrap();
    first.end();
    assert!(host.path("run/corten.sock").exists(), "a stale socket is what this is about");
    let _second = host.start();
    host.told("READY=1");
    UnixStream::connect(host.path("run/corten.sock")).unwrap();
}

#[test]
fn the_lock_that_a_dead_daemon_s_child_still_holds_is_waited_for() {
    let Some(host) = Host::new() else { return };
    let (mut dead, inherited) = held(&host);
    let mut daemon = host.start();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(daemon.0.try_wait().unwrap(), None, "{}", host.log());
    drop(inherited);
    host.told("READY=1");
    dead.wait().unwrap();
}

/// A daemon that has died, and its lock, which is held as by a child of its own.
fn held(host: &Host) -> (Child, std::fs::File) {
    // Its parent has not asked for its exit status yet, as happens under a supervisor.
    let dead = Command::new("true").spawn().unwrap();
    let status = format!("/proc/{}/stat", dead.id());
    let end = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&status).unwrap().contains(") Z ") {
        assert!(Instant::now() < end, "`true` did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::create_dir_all(host.path("run")).unwrap();
    std::fs::write(host.path("run/corten.lock"), format!("{}\n", dead.id())).unwrap();
    let inherited = std::fs::File::open(host.path("run/corten.lock")).unwrap();
    inherited.lock().unwrap();
    (dead, inherited)
}

/// A setting of the file, in the place of another.
fn replace(host: &Host, from: &str, to: &str) {
    let file = host.path("corten.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(host.path("new"), text.replace(from, to)).unwrap();
    std::fs::rename(host.path("new"), file).unwrap();
}

/// What `corten config status` says, and whether it ended well.
fn status(host: &Host) -> (serde_json::Value, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    let output =
        command.args(["config", "status", "--json", "--config"]).arg(host.path("corten.toml")).output();
    let output = output.unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.success())
}

fn metric(host: &Host, line: &str) -> bool {
    let mut client = UnixStream::connect(host.path("run/metrics.sock")).unwrap();
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut metrics = String::new();
    client.read_to_string(&mut metrics).unwrap();
    metrics.lines().any(|found| found == line)
}

#[test]
fn the_files_are_followed_and_what_is_wrong_changes_nothing() {
    let Some(host) = Host::new() else { return };
    let mut daemon = host.start();
    host.told("READY=1");
    let file = host.path("corten.toml");
    assert_eq!(
        status(&host),
        (
            serde_json::json!({"files": [file], "read_at": status(&host).0["read_at"],
        "waiting_for_restart": [], "on_this_host": [], "refused": null}),
            true
        )
    );

    // Whatever can change does, without a signal.
    replace(
        &host,
        "[images]",
        "[handlers.other]\ntype = \"oci\"\nbinary = \"/nonexistent/runtime\"\n[images]\npinned = [\"*\"]",
    );
    host.logged("\"changed\":\"images.pinned, handlers\"");
    // A network directory is in force as if its files had come into the former one.
    replace(&host, "/net.d\"", "/other.d\"");
    host.logged("\"changed\":\"network.conf_dir\"");
    host.logged("/other.d");
    // What takes a restart says so.
    replace(&host, "[log]", "[daemon]\nworkers = 3\n[log]");
    host.logged("\"keys\":\"daemon.workers\"");
    assert_eq!(status(&host).0["waiting_for_restart"], serde_json::json!(["daemon.workers"]));
    assert!(metric(&host, "corten_config_waiting_for_restart 1") && metric(&host, "corten_config_refused 0"));
    // So does what would keep the daemon from starting again.
    replace(&host, "workers = 3", "workers = 3\n[stream]\naddress = \"192.0.2.1:0\"");
    host.logged("`stream.address`: 192.0.2.1 is no address of this host");
    let lacking = status(&host).0["on_this_host"].to_string();
    assert!(lacking.contains("handlers.other.binary") && lacking.contains("192.0.2.1"), "{lacking}");
    replace(&host, "\n[stream]\naddress = \"192.0.2.1:0\"", "");

    // What the kernel would refuse to every pod is refused before.
    let parameters = "[runtime]\ndefault_sysctls = { \"net.core.somaxconn\" = \"abc\" }";
    replace(&host, "[runtime]", parameters);
    host.logged("runtime.default_sysctls: \\\"net.core.somaxconn\\\": the kernel does not take \\\"abc\\\"");
    assert!(!status(&host).1);
    replace(&host, parameters, "[runtime]");
    host.until(|| status(&host).1, "a configuration that is right");

    // A wrong file keeps the old settings and says why, until it is right again.
    replace(&host, "workers = 3", "wokers = 3");
    host.logged("the configuration is refused, nothing changes");
    host.logged("unknown key `daemon.wokers`");
    let (refused, well) = status(&host);
    assert!(
        !well && refused["refused"].as_str().unwrap().contains("unknown key `daemon.wokers`"),
        "{refused}"
    );
    assert!(metric(&host, "corten_config_refused 1"));
    replace(&host, "[daemon]\nwokers = 3\n", "");
    host.until(|| status(&host).1, "a configuration that is right");
    let right = status(&host).0;
    assert!(right["refused"].is_null() && right["waiting_for_restart"] == serde_json::json!([]), "{right}");
    assert!(
        metric(&host, "corten_config_refused 0")
            && metric(&host, "corten_config_reloads_total{outcome=\"refused\"} 2")
    );

    // Drop-ins are followed, too.
    std::fs::create_dir(host.path("conf.d")).unwrap();
    std::fs::write(host.path("conf.d/50.toml"), "[images]\nmax_pulls = 7\n").unwrap();
    host.logged("\"changed\":\"images.max_pulls\"");
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.end().success(), "{}", host.log());
}

#[test]
fn a_supervisor_that_does_not_read_keeps_the_daemon_from_nothing() {
    let Some(host) = Host::new() else { return };
    let mut daemon = host.start();
    host.told("READY=1");
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    full.connect(host.path("notify")).unwrap();
    while full.send(b"nothing").is_ok() {}
    assert!(metric(&host, "corten_config_refused 0"));
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.end().success(), "{}", host.log());
}

#[test]
fn what_pulls_cannot_use_is_told_when_the_daemon_starts() {
    let Some(host) = Host::new() else { return };
    std::fs::create_dir_all(host.path("certs.d/reg.example")).unwrap();
    std::fs::write(host.path("certs.d/reg.example/hosts.toml"), "server = \"https://a.example\"\nca = 5\n")
        .unwrap();
    let mut daemon = host.start();
    host.told("READY=1");
    host.logged("reg.example/hosts.toml:2: ca: must be a path or a list of paths");
    assert!(status(&host).0["on_this_host"][0].as_str().unwrap().contains("hosts.toml:2"));
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.end().success(), "{}", host.log());
}

#[test]
fn sighup_reads_the_log_level_again() {
    let Some(host) = Host::new() else { return };
    let mut daemon = host.start();
    host.told("READY=1");
    host.configure("loud");
    daemon.signal(rustix::process::Signal::HUP);
    host.logged("`loud` is neither a level");
    host.configure("debug");
    daemon.signal(rustix::process::Signal::HUP);
    host.logged("\"changed\":\"log.level\"");
    host.configure("error");
    daemon.signal(rustix::process::Signal::HUP);
    // From now on silent, so its end is all that there is to see.
    std::thread::sleep(Duration::from_millis(200));
    let before = host.log();
    daemon.signal(rustix::process::Signal::INT);
    assert_eq!(daemon.end().code(), Some(0));
    assert_eq!(host.log(), before);
}
