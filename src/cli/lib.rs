//! What the command line of `corten` takes. Its help, its completions and its man pages are made of these definitions, which
//! say nothing of what a command does: that is in `src/client` where the CRI's socket is enough, else in `src/corten`.
//!
//! One command, one file; its `Args` have public fields.

pub mod adopt;
pub mod check;
pub mod config;
pub mod daemon;
pub mod events;
pub mod exec;
pub mod image;
pub mod import;
pub mod inspect;
pub mod logs;
pub mod node;
pub mod pods;
pub mod ps;
pub mod serve;
pub mod status;
pub mod top;
pub mod version;
pub mod wipe;

use clap::{CommandFactory, Parser, Subcommand};

/// A Kubernetes container runtime.
#[derive(Debug, Parser)]
#[command(name = "corten", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer the Container Runtime Interface on a Unix socket
    Serve(serve::ServeArgs),
    /// Check whether this host can run pods: what is missing, what it costs, how to mend it
    Check(check::CheckArgs),
    /// Look after the images of a running daemon
    Image(image::ImageArgs),
    /// List pods
    Pods(pods::PodsArgs),
    /// List containers
    Ps(ps::PsArgs),
    /// Show what a container wrote
    Logs(logs::LogsArgs),
    /// Run a command in a container, and end with its exit code
    Exec(exec::ExecArgs),
    /// Show everything about a pod or a container, as crictl does
    Inspect(inspect::InspectArgs),
    /// Take over from another runtime on this node
    Adopt(adopt::AdoptArgs),
    /// Show what pods and containers use of CPU and memory
    Top(top::TopArgs),
    /// Show what happened to the pods and containers that are there, and what happens
    Events(events::EventsArgs),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show the version, what it was built of, and the versions of the interfaces
    Version(version::VersionArgs),
    /// Print what makes a shell complete these commands
    Completion(version::CompletionArgs),
    /// Show what a running daemon is doing: conditions, settings, network, disks, pods, operations in flight
    Status(status::AskArgs),
    /// Tell what was done with a pod or a container, and what it waits for
    #[command(subcommand)]
    Explain(status::ExplainCommand),
    /// Help to find a fault
    #[command(subcommand)]
    Debug(status::DebugCommand),
    /// Install Corten on a host from a container, and take it away again: what the chart runs on each node
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Take everything away that is Corten's on this node: pods, networks, state, and images where asked
    Wipe(wipe::WipeArgs),
}

/// The command line as a tree, for what is made of it.
pub fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definitions_hold_together() {
        super::definition().debug_assert();
    }
}
