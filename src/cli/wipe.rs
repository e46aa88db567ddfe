//! `corten wipe`.

use clap::Args;
use std::path::PathBuf;

/// What to take away.
#[derive(Debug, Args)]
pub struct WipeArgs {
    /// Configuration file, which says where everything is [default: /etc/corten/corten.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take the images, too
    #[arg(long)]
    pub images: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only say what would be taken away
    #[arg(long)]
    pub dry_run: bool,
}
