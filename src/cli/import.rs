//! `corten config import`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `corten config import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Whose configuration it is
    #[arg(long, value_name = "RUNTIME")]
    pub from: Origin,
    /// Its file, or the directory of that: config.toml of containerd with what it imports, crio.conf of CRI-O with crio.conf.d
    pub file: PathBuf,
    /// Print the report, which goes to stderr, as JSON, a line a key
    #[arg(long)]
    pub json: bool,
}

/// A runtime whose configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// config.toml of version 2, 3 or 4
    Containerd,
    /// crio.conf
    Crio,
}
