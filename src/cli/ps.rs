//! `corten ps`.

use crate::daemon::{DaemonArgs, Output};
use clap::{Args, ValueEnum};

/// Which containers are listed, and how.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Ids (or unique beginnings of one), names, POD/NAME or NAMESPACE/POD/NAME [default: all that run]
    pub containers: Vec<String>,
    /// Those that do not run, too
    #[arg(long, short)]
    pub all: bool,
    /// Containers of this pod alone: its id, name or NAMESPACE/NAME
    #[arg(long, short, value_name = "POD")]
    pub pod: Option<String>,
    /// Containers of this namespace alone
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Containers with this label alone; several must all be there
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Containers in this state alone
    #[arg(long, value_enum)]
    pub state: Option<ContainerState>,
    /// Print ids alone
    #[arg(long, short)]
    pub quiet: bool,
    /// How to print them
    #[arg(long, short, value_enum, default_value = "table")]
    pub output: Output,
    /// Which daemon is asked.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// A container's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ContainerState {
    /// It was made and has not begun
    Created,
    /// It runs
    Running,
    /// It has ended
    Exited,
    /// Nobody knows how it ended
    Unknown,
}
