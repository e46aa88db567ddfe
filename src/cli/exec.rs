//! `corten exec`.

use crate::daemon::DaemonArgs;
use clap::Args;

/// What is run, and where.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Hand stdin on
    #[arg(long, short = 'i')]
    pub stdin: bool,
    /// In a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// Which daemon is asked.
    #[command(flatten)]
    pub daemon: DaemonArgs,
    /// The container: id (or a unique beginning of one), name, POD/NAME or NAMESPACE/POD/NAME
    #[arg(value_name = "ID")]
    pub container: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
