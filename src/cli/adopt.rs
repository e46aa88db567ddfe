//! `corten adopt …`.

use crate::image::CredentialArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `corten adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AdoptCommand,
}

/// What to take over.
#[derive(Debug, Subcommand)]
pub enum AdoptCommand {
    /// Bring the images of another runtime into a running daemon from this host's disk, every byte held against its
    /// digests; the other runtime may run, and keeps what it has
    Images(AdoptImagesArgs),
}

/// `corten adopt images`.
#[derive(Debug, Args)]
pub struct AdoptImagesArgs {
    /// Which runtime has them
    #[arg(long, value_name = "RUNTIME")]
    pub from: Runtime,
    /// Where it keeps its data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/containerd")]
    pub root: PathBuf,
    /// The namespace of its images
    #[arg(long, default_value = "k8s.io")]
    pub namespace: String,
    /// Pull what is missing or damaged there from its registry, and only that
    #[arg(long)]
    pub pull_missing: bool,
    /// Who pulls.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// The daemon's configuration file, which says where its state directory is
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's administration socket [default: admin.sock in the state directory]
    #[arg(long, value_name = "PATH")]
    pub admin: Option<PathBuf>,
    /// Print JSON, a line an image
    #[arg(long)]
    pub json: bool,
}

/// A runtime whose images can be adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// containerd keeps images as registries serve them
    Containerd,
}
