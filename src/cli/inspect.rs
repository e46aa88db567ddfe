//! `corten inspect`.

use crate::daemon::DaemonArgs;
use clap::Args;

/// What is shown.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A pod or a container: id (or a unique beginning of one), name, or NAMESPACE/POD[/CONTAINER]
    #[arg(required = true, value_name = "ID")]
    pub names: Vec<String>,
    /// Which daemon is asked.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}
