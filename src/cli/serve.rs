//! `corten serve`.

use clap::Args;
use std::path::PathBuf;

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file [default: /etc/corten/corten.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Wait for a CNI configuration where there is none, unless a file sets network.builtin_network
    #[arg(long)]
    pub no_builtin_network: bool,
    /// Answer the kubelet's cAdvisor in containerd's place, unless a file sets kubelet.cadvisor_socket
    #[arg(long)]
    pub cadvisor: bool,
}
