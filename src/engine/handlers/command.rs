//! The commands of a runtime.

use super::HandlerSettings;
use super::features::Features;
use crate::error::EngineError;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use wire::plan::{Bytes, ContainerPlan, MountPlan, MountSource, RuntimePlan};

/// How long a runtime may take to say what it can do.
const PROBE: Duration = Duration::from_secs(5);
/// How long it may take to delete a container.
const DELETE: Duration = Duration::from_secs(30);

/// The names of files in a bundle.
const PID_FILE: &str = "pid";
const CONSOLE: &str = "console.sock";
const USER_NAMESPACE: &str = "user";
pub(super) const LOG: &str = "log.json";

/// A program with runc's command line.
#[derive(Debug)]
pub(crate) struct Runtime {
    name: String,
    binary: PathBuf,
    root: PathBuf,
    args: Vec<String>,
    features: Features,
}

impl Runtime {
    /// Asks the runtime for its features, and makes its state directory where it is there to answer.
    pub(super) async fn probe(
        name: &str,
        settings: &HandlerSettings,
        state: &Path,
    ) -> Result<Self, EngineError> {
        let root = if settings.root.as_os_str().is_empty() {
            state.join(super::DIR).join(name)
        } else {
            settings.root.clone()
        };
        let mut command = tokio::process::Command::new(&settings.binary);
        command.args(&settings.args).arg("features").stdin(Stdio::null()).kill_on_drop(true);
        let features = match tokio::time::timeout(PROBE, command.output()).await {
            Ok(Ok(output)) => {
                make(&root)?;
                Features::parse(&output.stdout)
            }
            Ok(Err(error)) => {
                tracing::warn!(handler = name, binary = %settings.binary.display(), %error, "the runtime cannot be run");
                Features::default()
            }
            Err(_) => {
                tracing::warn!(handler = name, "the runtime does not say what it can do");
                Features::default()
            }
        };
        let (binary, args) = (settings.binary.clone(), settings.args.clone());
        Ok(Self { name: name.to_owned(), binary, root, args, features })
    }

    /// The handler's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it can do.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// Refuses work for a runtime that is not installed.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let refuse = |problem: String| EngineError::Handler { name: self.name.clone(), problem };
        let found = std::fs::metadata(&self.binary)
            .map_err(|error| refuse(format!("{}: {error}", self.binary.display())))?;
        if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
            return Err(refuse(format!("{} is no program", self.binary.display())));
        }
        Ok(())
    }

    /// How the shim makes and starts a container of a bundle.
    pub(super) fn plan(&self, bundle: &Path, plan: &ContainerPlan) -> RuntimePlan {
        let id = plan.id.as_str();
        let path = |name: &str| bundle.join(name).into_os_string();
        let mut create: Vec<OsString> = vec!["create".into(), "--bundle".into(), bundle.into()];
        create.extend(["--pid-file".into(), path(PID_FILE)]);
        if plan.stdio.tty {
            // Relative: the address of a socket holds 108 bytes.
            create.extend(["--console-socket".into(), CONSOLE.into()]);
        }
        create.push(id.into());
        RuntimePlan {
            create: self.argv(&path(LOG), create),
            start: self.argv(&path(LOG), ["start".into(), id.into()]),
            directory: bundle.as_os_str().as_encoded_bytes().to_vec(),
            pid_file: PID_FILE.into(),
            console: CONSOLE.into(),
            user_namespace: if plan.ids.is_empty() { Bytes::new() } else { USER_NAMESPACE.into() },
            images: plan.mounts.iter().enumerate().map(image).collect(),
        }
    }

    /// How the shim runs a command in a container.
    pub(super) fn exec(&self, log: &Path, process: &Path, id: &str) -> Vec<Bytes> {
        let command: [OsString; 4] = ["exec".into(), "--process".into(), process.into(), id.into()];
        self.argv(&log.as_os_str().to_owned(), command)
    }

    /// Deletes what the runtime keeps of a container, which has no processes any more. Blocks.
    pub(super) fn delete(&self, id: &str) -> Result<(), EngineError> {
        let refuse = |problem: String| EngineError::Handler { name: self.name.clone(), problem };
        let mut child = std::process::Command::new(&self.binary)
            .args(&self.args)
            .arg("--root")
            .arg(&self.root)
            .args(["delete", "--force", id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| refuse(format!("run {}: {error}", self.binary.display())))?;
        let until = std::time::Instant::now() + DELETE;
        let mut pause = Duration::from_millis(1);
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(refuse(format!("delete {id}: {status}"))),
                Ok(None) if std::time::Instant::now() < until => std::thread::sleep(pause),
                Ok(None) => {
                    // It may end in this moment.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(refuse(format!("delete {id}: it took longer than {} s", DELETE.as_secs())));
                }
                Err(error) => return Err(refuse(format!("delete {id}: {error}"))),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Where the runtime keeps what it knows of a container.
    pub(super) fn state_of(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The runtime's directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn argv(&self, log: &OsString, command: impl IntoIterator<Item = OsString>) -> Vec<Bytes> {
        let global: [OsString; 6] = [
            "--root".into(),
            self.root.clone().into(),
            "--log".into(),
            log.clone(),
            "--log-format".into(),
            "json".into(),
        ];
        let args = self.args.iter().map(OsString::from);
        std::iter::once(self.binary.clone().into_os_string())
            .chain(args)
            .chain(global)
            .chain(command)
            .map(OsStringExt::into_vec)
            .collect()
    }
}

/// A directory for root alone.
pub(super) fn make(dir: &Path) -> Result<(), EngineError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(EngineError::io("make the directory", dir))
}

/// Where a container's mount of that index is found, if it is an image's: other runtimes map no owners of overlays, and
/// pass mount(2) no more layers than a page holds.
fn image((index, mount): (usize, &MountPlan)) -> Bytes {
    match mount.source {
        MountSource::Overlay { .. } => format!("image-{index}").into_bytes(),
        _ => Bytes::new(),
    }
}
