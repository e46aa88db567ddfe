//! `corten node …`: what the chart's containers run on each node.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// `corten node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Put programs, configuration and unit onto a host, start the daemon, and remember what was there; refuses a host
    /// that cannot run pods
    Install(InstallArgs),
    /// Take away what was put onto a host, and put back what was there; refuses while pods run by Corten
    Uninstall(UninstallArgs),
    /// Tell what became of an installation, and fail unless it is done: a readiness probe
    Ready(ReadyArgs),
    /// In a pod: change a DaemonSet, and wait until all its pods are ready with the change; what `helm uninstall` does first
    Roll(RollArgs),
    /// Run a program of a host in its root
    #[command(hide = true)]
    Enter(EnterArgs),
}

/// Which host, and how it is told.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// The host's root directory, with its /proc, /sys and /run
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Where to write what became of it, for `corten node ready`
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Do not end when it is done, but when asked to; 30 seconds after a failure
    #[arg(long)]
    pub stay: bool,
}

/// `corten node install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The host.
    #[command(flatten)]
    pub host: HostArgs,
    /// Trees of files as the host is to have them; what comes later wins
    #[arg(long = "source", value_name = "DIR", required = true)]
    pub sources: Vec<PathBuf>,
    /// Have the kubelet ask Corten, and restart it; without this, have it ask again what it asked before
    #[arg(long)]
    pub switch: bool,
}

/// `corten node uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// The host.
    #[command(flatten)]
    pub host: HostArgs,
}

/// `corten node ready`.
#[derive(Debug, Args)]
pub struct ReadyArgs {
    /// What `corten node install` or `uninstall` was told to write
    #[arg(long, value_name = "FILE")]
    pub report: PathBuf,
}

/// `corten node roll`.
#[derive(Debug, Args)]
pub struct RollArgs {
    /// The DaemonSet's namespace
    #[arg(long)]
    pub namespace: String,
    /// Its name
    #[arg(long)]
    pub name: String,
    /// What is to be changed: a strategic merge patch in JSON
    #[arg(long, value_name = "JSON")]
    pub patch: String,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    pub patience: u64,
}

/// `corten node enter`.
#[derive(Debug, Args)]
pub struct EnterArgs {
    /// The host's root directory
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// The program, as the host names it, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub line: Vec<OsString>,
}
