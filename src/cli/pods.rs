//! `corten pods`.

use crate::daemon::{DaemonArgs, Output};
use clap::{Args, ValueEnum};

/// Which pods are listed, and how.
#[derive(Debug, Args)]
pub struct PodsArgs {
    /// Ids (or unique beginnings of one), names or NAMESPACE/NAME [default: all pods]
    pub pods: Vec<String>,
    /// Pods of this namespace alone
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Pods with this label alone; several must all be there
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Pods in this state alone
    #[arg(long, value_enum)]
    pub state: Option<PodState>,
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

/// A pod's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PodState {
    /// It has its network, and containers may run in it
    Ready,
    /// It was stopped, or has died
    Notready,
}
