//! `make run`, `make serve` and `make cluster`: Corten at work for a person to look at, with Debian's busybox and docker-registry.

mod cluster;
mod cluster_down;
mod demo;
mod image;
mod serve;

use clap::{Parser, Subcommand};
use e2e::error::Chain;
use std::process::ExitCode;

/// Shows Corten at work.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run one pod from pull to removal, with the time of each step; leaves nothing behind
    Run,
    /// Start a registry and a daemon, print the crictl line, and clean up on ^C
    Serve,
    /// Start a cluster in the background, on the runtime that RUNTIME names, with NODES nodes
    Cluster,
    /// What `cluster` leaves in the background
    #[command(hide = true)]
    ClusterHold,
    /// End the cluster and remove all of it
    ClusterDown,
    /// Write the chart's image of target/dist into target/packages
    Image,
}

fn main() -> ExitCode {
    let result = match Cli::parse().what {
        What::Run => demo::run(),
        What::Serve => serve::serve(),
        What::Cluster => cluster::up(),
        What::ClusterHold => cluster::hold(),
        What::ClusterDown => cluster_down::down(),
        What::Image => image::write(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}
