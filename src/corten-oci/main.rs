//! corten-oci: a runc-compatible command line over the launcher that the shim uses, for whoever calls an OCI runtime
//! by its command line: containerd, Podman, conformance suites.
//!
//! `create` forks; the child builds the container around itself and then listens on a socket in the container's state
//! directory. `start` connects to it, gives the word, and hears over the same connection whether the program could be
//! run. Everything else works on the state directory, the container's first process and its cgroup.

mod args;
mod bundle;
mod check;
mod command;
mod console;
mod context;
mod create;
mod delete;
mod error;
mod events;
mod exec;
mod features;
mod foreground;
mod hooks;
mod kill;
mod list;
mod log;
mod namespaces;
mod pause;
mod pid_file;
mod ps;
mod spec;
mod start;
mod state;
mod status;
mod stdio;
mod time;
mod update;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and the version are asked for; anything else is the caller's mistake.
            let code = if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            // With the terminal gone there is nobody to tell.
            let _ = error.print();
            return code;
        }
    };
    match command::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::error(&args.global, &error);
            ExitCode::from(error.exit_code())
        }
    }
}
