//! Plugins of the Node Resource Interface in processes of their own, as others have built them.

use crate::error::{Context, Error};
use crate::runtime::{Daemon, Kind};
use crate::tools;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The socket that plugins connect to where nothing else is said: the peers' and Corten's default.
pub const SOCKET: &str = "/var/run/nri/nri.sock";
/// How long a plugin may take until it has been told of everything that is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A plugin that runs; it ends with this.
#[derive(Debug)]
pub struct Plugin {
    child: Child,
    log: PathBuf,
}

/// A plugin of another project that `e2e/setup.sh nri` has built.
///
/// # Errors
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    tools::go_tool(&format!("nri/{name}"), "nri")
}

impl Plugin {
    /// Starts a plugin, and waits until the daemon has taken it in under each of some names, such as `10-logger`.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not taken in.
    pub fn join(daemon: &Daemon, mut command: Command, names: &[&str]) -> Result<Self, Error> {
        let log = daemon.place().root.join(format!("{}.log", names.first().unwrap_or(&"plugin")));
        let output = OpenOptions::new().create(true).append(true).open(&log).at("create", &log)?;
        let errors = output.try_clone().at("duplicate", &log)?;
        let before = daemon_log(daemon).len();
        let program = PathBuf::from(command.get_program());
        let child =
            command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().at("start", &program)?;
        let mut plugin = Self { child, log };
        plugin.wait_until(daemon, before, names)?;
        Ok(plugin)
    }

    /// What it has said so far, on both of its outputs.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    fn wait_until(&mut self, daemon: &Daemon, before: usize, names: &[&str]) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = daemon_log(daemon);
            let log = log.get(before..).unwrap_or_default();
            if names.iter().all(|name| log.lines().any(|line| is_taken_in(daemon.kind(), line, name))) {
                return Ok(());
            }
            if self.has_ended() || Instant::now() > end {
                let last = format!("{}\n{}", self.said(), daemon.log_tail());
                return Err(Error::Late { what: "the plugin's joining", after: PATIENCE, last });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if thread::panicking() {
            let said = self.said();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("--- the plugin said ---\n{}\n---", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daemon_log(daemon: &Daemon) -> String {
    fs::read_to_string(&daemon.place().log).unwrap_or_default()
}

/// Whether a line of a daemon's log says that it has told a plugin of everything.
pub fn is_taken_in(kind: Kind, line: &str, name: &str) -> bool {
    let says = match kind {
        Kind::Corten => line.contains("a plugin has joined"),
        Kind::Containerd => {
            line.contains("connected and synchronized") || line.contains("synchronization success")
        }
    };
    says && line.contains(name)
}
