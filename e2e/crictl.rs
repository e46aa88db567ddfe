//! The real crictl.

use crate::error::{Context, Error};
use crate::{command, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// crictl, pointed at a socket.
#[derive(Debug, Clone)]
pub struct Crictl {
    program: PathBuf,
    config: PathBuf,
}

impl Crictl {
    /// Writes a configuration for the socket beside it.
    ///
    /// # Errors
    /// When crictl was not built or the file cannot be written.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        let program = tools::go_tool("crictl", "run")?;
        let config = socket.with_extension("crictl.yaml");
        let text = format!(
            "runtime-endpoint: unix://{0}\nimage-endpoint: unix://{0}\ntimeout: 60\n",
            socket.display()
        );
        fs::write(&config, text).at("write", &config)?;
        Ok(Self { program, config })
    }

    /// The line that a person would type before the subcommand.
    pub fn line(&self) -> String {
        format!("{} --config {}", self.program.display(), self.config.display())
    }

    /// Runs a subcommand that must succeed; its standard output without the last line feed.
    ///
    /// # Errors
    /// When it fails or takes more than 90 s.
    pub fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        let text = command::run(&mut self.command(arguments), Duration::from_secs(90))?;
        Ok(text.trim_end().to_owned())
    }

    /// Runs a subcommand that may fail; what it said.
    ///
    /// # Errors
    /// When it takes more than 90 s.
    pub fn finish(&self, arguments: &[&str]) -> Result<command::Finished, Error> {
        command::finish(&mut self.command(arguments), Duration::from_secs(90))
    }

    /// Runs a subcommand with something to read on its standard input.
    ///
    /// # Errors
    /// When it takes more than 90 s.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<command::Finished, Error> {
        command::feed(&mut self.command(arguments), input, Duration::from_secs(90))
    }

    /// The subcommand, for what takes more than running it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }
}
