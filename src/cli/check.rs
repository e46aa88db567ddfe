//! `corten check`.

use crate::serve::ServeArgs;
use clap::Args;

/// What to check for.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// As the daemon is to be started.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print only what is not as it should be
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON, in one line
    #[arg(long)]
    pub json: bool,
}
