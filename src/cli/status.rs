//! `corten status`, `corten explain`, `corten debug`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Which daemon to ask, and how to answer.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The daemon's configuration file, which says where its state directory is
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's administration socket [default: admin.sock in the state directory]
    #[arg(long, value_name = "PATH")]
    pub admin: Option<PathBuf>,
    /// Print JSON, in one line
    #[arg(long)]
    pub json: bool,
}

/// What to explain.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// What was done with a pod, how long each stage took, what it waits for now, and why it is not running
    Pod {
        /// Its id, the beginning of one, its name, or namespace/name
        #[arg(value_name = "NAME")]
        id: String,
        /// Whom to ask.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// The same of a container
    Container {
        /// Its id, the beginning of one, or its name: alone, as pod/name, or as namespace/pod/name
        #[arg(value_name = "NAME")]
        id: String,
        /// Whom to ask.
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// What helps to find a fault.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Gather what a report needs into a tar.gz: status, settings, log, records, mounts, cgroups, processes, packet rules;
    /// secrets are removed. Works without a daemon, too
    Bundle {
        /// Where to write it [default: corten-debug-HOST-TIME.tar.gz here]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Configuration file [default: /etc/corten/corten.toml, where it exists]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}
