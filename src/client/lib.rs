//! The commands that need but the socket of the CRI, and how every command prints. One command, one file; [`run`] is where
//! they begin.

mod connection;
mod error;
mod events;
mod exec;
mod inspect;
mod json;
mod log_file;
mod logs;
mod node;
mod pods;
mod print;
mod ps;
pub mod table;
mod terminal;
mod time;
mod top;
mod websocket;

pub use error::Error;
pub use print::{PrintError, has_colors, print, print_styled};

use cli::events::EventsArgs;
use cli::exec::ExecArgs;
use cli::inspect::InspectArgs;
use cli::logs::LogsArgs;
use cli::pods::PodsArgs;
use cli::ps::PsArgs;
use cli::top::TopArgs;
use connection::Daemon;
use std::path::Path;
use std::process::ExitCode;

/// A command of this crate.
#[derive(Debug)]
pub enum Request {
    /// `corten pods`.
    Pods(PodsArgs),
    /// `corten ps`.
    Ps(PsArgs),
    /// `corten logs`.
    Logs(LogsArgs),
    /// `corten exec`.
    Exec(ExecArgs),
    /// `corten top`.
    Top(TopArgs),
    /// `corten events`.
    Events(EventsArgs),
    /// `corten inspect`.
    Inspect(InspectArgs),
}

/// Asks the daemon on a socket, and prints what it says. A reader that has gone away is no failure.
///
/// # Errors
/// When the daemon cannot be reached, or refuses.
pub fn run(request: Request, socket: &Path) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { source })?;
    let outcome = runtime.block_on(async {
        let daemon = Daemon::connect(socket).await?;
        match request {
            Request::Pods(arguments) => pods::run(&daemon, &arguments).await?,
            Request::Ps(arguments) => ps::run(&daemon, &arguments).await?,
            Request::Logs(arguments) => logs::run(&daemon, &arguments).await?,
            Request::Exec(arguments) => return exec::run(&daemon, &arguments).await,
            Request::Top(arguments) => top::run(&daemon, &arguments).await?,
            Request::Events(arguments) => events::run(&daemon, &arguments).await?,
            Request::Inspect(arguments) => inspect::run(&daemon, &arguments).await?,
        }
        Ok(ExitCode::SUCCESS)
    });
    // A thread that reads stdin is not waited for.
    runtime.shutdown_background();
    match outcome {
        Err(Error::Print(error)) if error.is_reader_gone() => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}
