//! The Corten daemon and its command line: `corten serve`, `corten config default|check`,
//! `corten image …`.

mod admin;
mod aside;
mod cadvisor;
mod cli;
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
use cli::{Cli, Command, ConfigCommand};
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve { config, no_builtin_network, cadvisor } => {
            let mut defaults = String::new();
            defaults.push_str(if no_builtin_network { config::NO_BUILTIN_NETWORK } else { "" });
            defaults.push_str(if cadvisor { config::CADVISOR } else { "" });
            serve::serve(config.as_deref(), &defaults)
        }
        Command::Image(arguments) => images_cli::run(arguments),
        Command::Config(ConfigCommand::Default) => cli::print_default(),
        Command::Config(ConfigCommand::Status { config, admin, json }) => {
            config_cli::status(config.as_deref(), admin, json)
        }
        Command::Config(ConfigCommand::Check { config, no_host }) => cli::check(config.as_deref(), no_host),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error::report(&error);
            ExitCode::FAILURE
        }
    }
}
