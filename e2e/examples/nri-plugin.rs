//! A plugin that subscribes to everything and changes nothing, in Rust, for `bench nri`: `nri-plugin SOCKET`.

use nri::testing::{Manner, Plugin};
use std::path::PathBuf;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(socket) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("nri-plugin: name the socket of plugins");
        return ExitCode::FAILURE;
    };
    match Plugin::join(&socket, Manner::new("10", "rust")).await {
        Ok(plugin) => {
            plugin.ended().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nri-plugin: cannot join at {}: {error}", socket.display());
            ExitCode::FAILURE
        }
    }
}
