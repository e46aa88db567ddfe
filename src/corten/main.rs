//! The Corten daemon and its command line: `corten serve`, `corten config default|check`.

mod cli;
mod config;
mod error;
mod lock;
mod logging;
mod metrics;
mod serve;
mod signals;
mod socket;
mod state;
mod supervisor;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand};
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve { config } => serve::serve(config.as_deref()),
        Command::Config(ConfigCommand::Default) => cli::print_default(),
        Command::Config(ConfigCommand::Check { config }) => cli::check(config.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error::report(&error);
            ExitCode::FAILURE
        }
    }
}
