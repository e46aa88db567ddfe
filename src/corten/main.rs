//! The Corten daemon and its command line. What it takes is defined in `src/cli`; what needs but the CRI's socket is in
//! `src/client`.

mod admin;
mod aside;
mod cadvisor;
mod config;
mod config_cli;
mod error;
mod images_cli;
mod in_flight;
mod lock;
mod logging;
mod metrics;
mod reload;
mod serve;
mod signals;
mod socket;
mod state;
mod systemd_notify;

use clap::Parser;
use cli::serve::ServeArgs;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(ServeArgs { config, no_builtin_network, cadvisor }) => {
            let mut defaults = String::new();
            defaults.push_str(if no_builtin_network { config::NO_BUILTIN_NETWORK } else { "" });
            defaults.push_str(if cadvisor { config::CADVISOR } else { "" });
            serve::serve(config.as_deref(), &defaults)
        }
        Command::Image(arguments) => images_cli::run(arguments),
        Command::Config(command) => config_cli::run(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error::report(&error);
            ExitCode::FAILURE
        }
    }
}
