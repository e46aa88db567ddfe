//! Options that several commands have.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Which daemon is asked.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    /// The daemon's configuration file, which says where its socket is
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket of the CRI [default: that of the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table
    Table,
    /// A table with more columns and whole ids
    Wide,
    /// JSON, as crictl prints it
    Json,
}
