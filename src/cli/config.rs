//! `corten config …`.

use clap::Subcommand;
use std::path::PathBuf;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
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
    /// Print the settings of another runtime as Corten's; stderr says what has no counterpart, and what that costs
    Import(crate::import::ImportArgs),
    /// Print every setting in force, with the file and the line where it is set
    Dump {
        /// As the daemon is started.
        #[command(flatten)]
        serve: crate::serve::ServeArgs,
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
