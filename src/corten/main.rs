//! The Corten daemon and its command line. What it takes is defined in `src/cli`; what needs but the CRI's socket is in
//! `src/client`.

mod about;
mod admin;
mod adopt;
mod aside;
mod bundle;
mod cadvisor;
mod check;
mod config;
mod config_cli;
mod error;
mod images_cli;
mod images_root;
mod import;
mod in_flight;
mod lock;
mod logging;
mod metrics;
mod node;
mod redact;
mod reload;
mod serve;
mod signals;
mod socket;
mod state;
mod status_cli;
mod systemd_notify;
mod threads;
mod wipe;

use clap::Parser;
use cli::daemon::DaemonArgs;
use cli::status::DebugCommand;
use cli::{Cli, Command};
use client::Request;
use error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            error::report(&error);
            error::exit_code(&error)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Serve(arguments) => {
            serve::serve(arguments.config.as_deref(), &config::defaults(&arguments))?;
        }
        Command::Check(arguments) => check::run(&arguments)?,
        Command::Image(arguments) => images_cli::run(arguments)?,
        Command::Adopt(arguments) => adopt::run(arguments)?,
        Command::Pods(arguments) => return ask(&arguments.daemon.clone(), Request::Pods(arguments)),
        Command::Ps(arguments) => return ask(&arguments.daemon.clone(), Request::Ps(arguments)),
        Command::Logs(arguments) => return ask(&arguments.daemon.clone(), Request::Logs(arguments)),
        Command::Exec(arguments) => return ask(&arguments.daemon.clone(), Request::Exec(arguments)),
        Command::Top(arguments) => return ask(&arguments.daemon.clone(), Request::Top(arguments)),
        Command::Events(arguments) => return ask(&arguments.daemon.clone(), Request::Events(arguments)),
        Command::Inspect(arguments) => return ask(&arguments.daemon.clone(), Request::Inspect(arguments)),
        Command::Config(command) => config_cli::run(command)?,
        Command::Status(arguments) => status_cli::status(arguments)?,
        Command::Explain(command) => status_cli::explain(command)?,
        Command::Debug(DebugCommand::Bundle { output, config }) => bundle::run(output, config.as_deref())?,
        Command::Node(command) => node::run(command)?,
        Command::Wipe(arguments) => wipe::run(&arguments)?,
        Command::Version(arguments) => about::version(&arguments)?,
        Command::Completion(arguments) => about::completion(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the CRI's socket, which is in the configuration unless it is given.
fn ask(daemon: &DaemonArgs, request: Request) -> Result<ExitCode, Error> {
    let socket = match &daemon.socket {
        Some(socket) => socket.clone(),
        None => config::socket(daemon.config.as_deref())?,
    };
    Ok(client::run(request, &socket)?)
}
