//! The command line, and the commands that need no daemon.

use crate::config;
use crate::error::Error;
use crate::images_cli::ImageArgs;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A Kubernetes container runtime.
#[derive(Debug, Parser)]
#[command(name = "corten", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer the Container Runtime Interface on a Unix socket
    Serve {
        /// Configuration file [default: /etc/corten/corten.toml, where it exists]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Wait for a CNI configuration where there is none, unless a file sets network.builtin_network
        #[arg(long)]
        no_builtin_network: bool,
        /// Answer the kubelet's cAdvisor in containerd's place, unless a file sets kubelet.cadvisor_socket
        #[arg(long)]
        cadvisor: bool,
    },
    /// Look after the images of a running daemon
    Image(ImageArgs),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its default and what it does
    Default,
    /// Show what a running daemon has read, which settings wait for a restart, and why its files are refused
    Status {
        /// The daemon's configuration file, which says where its state directory is
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The daemon's administration socket [default: admin.sock in the state directory]
        #[arg(long, value_name = "PATH")]
        admin: Option<PathBuf>,
        /// Print JSON, in one line
        #[arg(long)]
        json: bool,
    },
    /// Check a configuration file and its drop-ins, without changing anything
    Check {
        /// Configuration file [default: /etc/corten/corten.toml, where it exists]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Leave out what depends on this host: programs, certificates, the driver of cgroups, filesystems
        #[arg(long)]
        no_host: bool,
    },
}

/// `corten config default`.
pub(crate) fn print_default() -> Result<(), Error> {
    print(config::DEFAULT_TEXT)
}

/// `corten config check`: success means that `corten serve` would accept the same files, and lacks nothing on this host.
pub(crate) fn check(file: Option<&Path>, no_host: bool) -> Result<(), Error> {
    let loaded = Arc::new(config::load(file)?);
    if !no_host {
        config::check_host(&loaded).none()?;
    }
    if loaded.files.is_empty() {
        return print("no configuration file, the defaults apply\n");
    }
    let mut text = String::new();
    for file in &loaded.files {
        text.push_str(&format!("{}: ok\n", file.display()));
    }
    print(&text)
}

/// Prints to stdout, and nothing that acts on a terminal; a reader that has gone away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(engine::printable(text).as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Print { source }),
        _ => Ok(()),
    }
}
