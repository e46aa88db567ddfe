//! `corten events`.

use crate::daemon::DaemonArgs;
use clap::{Args, ValueEnum};

/// Which events are shown, and how.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens
    #[arg(long, short)]
    pub follow: bool,
    /// Events of this pod alone: its id, name or NAMESPACE/NAME
    #[arg(long, short, value_name = "POD")]
    pub pod: Option<String>,
    /// Events of this namespace alone
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How to print them
    #[arg(long, short, value_enum, default_value = "text")]
    pub output: EventOutput,
    /// Which daemon is asked.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventOutput {
    /// A line an event
    Text,
    /// JSON, a line an event
    Json,
}
