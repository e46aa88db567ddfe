//! `corten logs`.

use crate::daemon::DaemonArgs;
use clap::Args;

/// Whose log is shown, and what of it.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The container: id (or a unique beginning of one), name, POD/NAME or NAMESPACE/POD/NAME
    #[arg(value_name = "ID")]
    pub container: String,
    /// Go on with what the container writes, until it ends
    #[arg(long, short)]
    pub follow: bool,
    /// The last lines alone; all of them with -1
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// What is younger than this, such as 90s, 10m or 1h30m, or than a time such as 2026-11-28T12:00:00Z
    #[arg(long, value_name = "AGE|TIME")]
    pub since: Option<String>,
    /// Begin each line with its time
    #[arg(long, short)]
    pub timestamps: bool,
    /// Which daemon is asked.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}
