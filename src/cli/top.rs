//! `corten top`.

use crate::daemon::DaemonArgs;
use clap::{Args, ValueEnum};

/// Whose usage is shown, and how.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Show it once; so it is where stdout is no terminal
    #[arg(long)]
    pub once: bool,
    /// Pods alone, without their containers
    #[arg(long)]
    pub pods: bool,
    /// This pod alone: its id, name or NAMESPACE/NAME
    #[arg(long, short, value_name = "POD")]
    pub pod: Option<String>,
    /// Pods of this namespace alone
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// What comes first
    #[arg(long, value_enum, default_value = "cpu")]
    pub sort: TopOrder,
    /// Seconds over which CPU is measured, and between two pictures
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table")]
    pub output: TopOutput,
    /// Which daemon is asked.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopOrder {
    /// What uses most CPU
    Cpu,
    /// What uses most memory
    Memory,
    /// By name
    Name,
}

/// How usage is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopOutput {
    /// A table
    Table,
    /// JSON, a line a picture
    Json,
}
