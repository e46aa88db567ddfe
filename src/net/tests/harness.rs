//! A node of its own in a temporary directory, with plugins that are shell scripts and write down how they
//! were called.

use crate::{Network, NetworkSettings, PodNetwork};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(super) struct Node {
    pub(super) dir: TempDir,
    pub(super) settings: NetworkSettings,
}

impl Node {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let settings = NetworkSettings {
            conf_dir: at("conf"),
            bin_dirs: vec![at("bin"), at("bin2")],
            builtin_network: false,
            plugin_timeout_seconds: 20,
            status_interval_seconds: 1,
            state_dir: at("state"),
            data_dir: at("data"),
            ..NetworkSettings::default()
        };
        Self { dir, settings }
    }

    pub(super) fn open(&self) -> Arc<Network> {
        Network::open(self.settings.clone(), &prometheus::Registry::new()).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a plugin: what it does after it has written down its call.
    pub(super) fn plugin(&self, name: &str, body: &str) {
        let log = self.dir.path().display();
        let text = format!(
            "#!/bin/sh\nD={log}\ncat > $D/{name}.$CNI_COMMAND.json\nenv | grep ^CNI_ | sort > $D/{name}.$CNI_COMMAND.env\n\
             echo \"{name} $CNI_COMMAND\" >> $D/calls\n{body}\n"
        );
        let path = self.settings.bin_dirs[0].join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes a plugin whose ADD gives an address.
    pub(super) fn address_plugin(&self, name: &str) {
        self.plugin(name, &format!("[ $CNI_COMMAND = ADD ] && echo '{RESULT}'; exit 0"));
    }

    pub(super) fn conf(&self, name: &str, text: &str) {
        fs::write(self.settings.conf_dir.join(name), text).unwrap();
    }

    /// The calls so far, such as `a ADD`, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn forget_calls(&self) {
        let _ = fs::remove_file(self.path("calls"));
    }

    /// The configuration that a plugin was given last for a command.
    pub(super) fn stdin(&self, plugin: &str, command: &str) -> Value {
        let text = fs::read(self.path(&format!("{plugin}.{command}.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The variables that a plugin was given last for a command.
    pub(super) fn env(&self, plugin: &str, command: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("{plugin}.{command}.env"))).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn journal(&self) -> usize {
        fs::read_dir(self.settings.state_dir.join("attachments")).unwrap().count()
    }
}

/// A result of version 1.0.0 with one address of each family.
pub(super) const RESULT: &str = r#"{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/ns"}],
 "ips": [{"address": "10.9.0.2/24", "interface": 0}, {"address": "fd09::2/64", "interface": 0}], "x-own": 7}"#;

/// A list of plugins of those types, without more fields.
pub(super) fn list(version: &str, types: &[&str]) -> String {
    let plugins: Vec<String> = types.iter().map(|kind| format!(r#"{{"type": "{kind}"}}"#)).collect();
    format!(r#"{{"name": "net1", "cniVersion": "{version}", "plugins": [{}]}}"#, plugins.join(", "))
}

pub(super) fn pod(id: &str) -> PodNetwork {
    PodNetwork {
        sandbox_id: id.to_owned(),
        name: "web".to_owned(),
        namespace: "default".to_owned(),
        uid: "u-1".to_owned(),
        netns: "/nonexistent/ns".into(),
        ..PodNetwork::default()
    }
}

/// Waits until the condition holds.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process is there and no zombie.
pub(super) fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// What has been logged.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what this thread logs.
    pub(super) fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
