//! One process of a cluster, with its log.

use crate::command;
use crate::error::{Context, Error};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running component; dropping it kills it.
#[derive(Debug)]
pub struct Component {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Child,
}

impl Component {
    /// Starts a program whose log goes to a file of its name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &'static str,
        program: PathBuf,
        arguments: Vec<String>,
        logs: &Path,
    ) -> Result<Self, Error> {
        Self::start_with(name, program, arguments, Vec::new(), logs)
    }

    /// As [`Component::start`], with more in its environment.
    ///
    /// # Errors
    /// As [`Component::start`].
    pub(crate) fn start_with(
        name: &'static str,
        program: PathBuf,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
        logs: &Path,
    ) -> Result<Self, Error> {
        let log = logs.join(format!("{name}.log"));
        let child = launch(&program, &arguments, &environment, &log)?;
        Ok(Self { name, program, arguments, environment, log, child })
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Fails, with what it said last, when it has ended.
    ///
    /// # Errors
    /// When it has.
    pub fn must_run(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => {
                let line = format!("{} {}", self.program.display(), self.arguments.join(" "));
                Err(Error::Command { line, outcome: format!("ended: {ended:?}"), stderr: self.tail() })
            }
        }
    }

    /// Ends it with SIGTERM and starts it again.
    ///
    /// # Errors
    /// When it does not end within 30 s, or cannot be started.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Ends it and starts it again, now in another root.
    ///
    /// # Errors
    /// As [`Component::restart`].
    pub fn move_into(&mut self, root: &Path) -> Result<(), Error> {
        self.stop()?;
        let program = std::mem::replace(&mut self.program, PathBuf::from("/usr/sbin/chroot"));
        let paths = [root, &program].map(|path| path.display().to_string());
        self.arguments.splice(0..0, paths);
        self.start_again()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// When it does not end within 30 s.
    pub fn stop(&mut self) -> Result<(), Error> {
        let after = Duration::from_secs(30);
        // It fails only for a process that is gone.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        if command::wait(&mut self.child, after).is_none() {
            return Err(Error::Late { what: "the component's end", after, last: self.tail() });
        }
        Ok(())
    }

    /// Starts it again after [`Component::stop`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.child = launch(&self.program, &self.arguments, &self.environment, &self.log)?;
        Ok(())
    }

    /// The last lines that it logged.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        format!("{}:\n{}", self.name, lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    log: &Path,
) -> Result<Child, Error> {
    let output = OpenOptions::new().create(true).append(true).open(log).at("create", log)?;
    let errors = output.try_clone().at("duplicate", log)?;
    Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .at("start", program)
}
