//! Runs a plugin's binary: variables, standard input, bounded output, a deadline for all it has started.

use crate::error::EXECUTE;
use crate::{NetError, Result};
use cni::types::Command;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

/// The most that a plugin may print on its standard output.
pub(crate) const MAX_OUTPUT: usize = 10 << 20;

/// The most of its standard error that is kept.
const MAX_STDERR: usize = 16 << 10;

/// How long output is still read after the plugin has ended and something else holds its pipes.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a killed plugin is waited for.
const REAP: Duration = Duration::from_secs(5);

/// One execution of a plugin.
pub(crate) struct Execution<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) command: Command,
    pub(crate) bin_dirs: &'a [PathBuf],
    /// The `CNI_*` variables, which are put beside the daemon's own environment.
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) deadline: Duration,
}

/// What a plugin that has ended by itself left.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The plugin's file: the first executable one of that name.
pub(crate) fn find(plugin: &str, bin_dirs: &[PathBuf]) -> Option<PathBuf> {
    let is_executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    bin_dirs.iter().map(|dir| dir.join(plugin)).find(is_executable)
}

/// The directories as one text, as `CNI_PATH` has them.
pub(crate) fn search_path(bin_dirs: &[PathBuf]) -> String {
    bin_dirs.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":")
}

/// Kills a plugin's process group when it is dropped before the plugin has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // ESRCH: all of it has ended.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Default)]
struct Captured {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Execution<'_> {
    /// Runs the plugin to its end.
    ///
    /// # Errors
    /// When it is not there, cannot be started, prints too much or passes its deadline; in the last two
    /// cases its whole process group has been killed. An exit code other than 0 is no error here.
    pub(crate) async fn run(&self) -> Result<Outcome> {
        let Some(path) = find(self.plugin, self.bin_dirs) else {
            let (plugin, dirs) = (self.plugin.to_owned(), search_path(self.bin_dirs));
            return Err(NetError::PluginNotFound { plugin, command: self.command, dirs });
        };
        let mut child = self.spawn(&path).await?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let mut captured = Captured::default();
        let talk = self.talk(&path, &mut child, &mut captured);
        match timeout(self.deadline, talk).await {
            Ok(Ok(status)) => {
                group.0 = None;
                let stderr = String::from_utf8_lossy(&captured.stderr).trim().to_owned();
                Ok(Outcome { status, stdout: captured.stdout, stderr })
            }
            failed => {
                group.kill();
                // Not reaping it in time is logged nowhere: tokio reaps it later.
                let _ = timeout(REAP, child.wait()).await;
                Err(failed
                    .map_or_else(|_| self.timed_out(), |result| result.err().unwrap_or(self.timed_out())))
            }
        }
    }

    async fn spawn(&self, path: &Path) -> Result<Child> {
        let mut command = tokio::process::Command::new(path);
        command
            .current_dir("/")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("CNI_CONTAINERID")
            .env_remove("CNI_NETNS")
            .env_remove("CNI_IFNAME")
            .env_remove("CNI_ARGS")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for _ in 0..20 {
            match command.spawn() {
                // The file is being written, or was in a process that forked meanwhile.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                spawned => return spawned.map_err(self.io(EXECUTE, path)),
            }
        }
        command.spawn().map_err(self.io(EXECUTE, path))
    }

    /// Feeds and reads the plugin until it has ended and its pipes are closed. Something that it left behind
    /// may hold the pipes for longer; what it printed itself is complete then.
    async fn talk(&self, path: &Path, child: &mut Child, captured: &mut Captured) -> Result<ExitStatus> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let Captured { stdout: out, stderr: err } = captured;
        let pipes = async {
            tokio::try_join!(
                async { feed(stdin, &self.stdin).await.map_err(self.io("write to", path)) },
                async { self.read(stdout, out, path).await },
                async { keep_start(stderr, err).await.map_err(self.io("read from", path)) },
            )
        };
        tokio::pin!(pipes);
        tokio::select! {
            done = &mut pipes => {
                done?;
                child.wait().await.map_err(self.io("wait for", path))
            }
            status = child.wait() => {
                if let Ok(done) = timeout(DRAIN, &mut pipes).await {
                    done?;
                }
                status.map_err(self.io("wait for", path))
            }
        }
    }

    async fn read(
        &self,
        source: Option<impl AsyncRead + Unpin>,
        out: &mut Vec<u8>,
        path: &Path,
    ) -> Result<()> {
        let Some(source) = source else { return Ok(()) };
        source.take(MAX_OUTPUT as u64 + 1).read_to_end(out).await.map_err(self.io("read from", path))?;
        if out.len() > MAX_OUTPUT {
            let plugin = self.plugin.to_owned();
            return Err(NetError::OutputTooLarge { plugin, command: self.command, limit: MAX_OUTPUT });
        }
        Ok(())
    }

    fn timed_out(&self) -> NetError {
        let seconds = self.deadline.as_secs();
        NetError::Timeout { plugin: self.plugin.to_owned(), command: self.command, seconds }
    }

    fn io(&self, op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetError {
        let (plugin, command, path) = (self.plugin.to_owned(), self.command, path.to_path_buf());
        move |source| NetError::Io { plugin, command, op, path, source }
    }
}

async fn feed(stdin: Option<ChildStdin>, text: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(text).await {
        // A plugin need not read what it is given.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Reads to the end and keeps the start.
async fn keep_start(source: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut source) = source else { return Ok(()) };
    let mut buffer = [0u8; 4096];
    loop {
        let count = source.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let room = MAX_STDERR.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}
