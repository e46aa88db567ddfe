//! `corten config …`: every setting, whether files are right, what a running daemon made of them.

use crate::admin::{self, Client, ClientError};
use crate::config;
use crate::error::{self, Error};
use crate::reload::ConfigStatus;
use cli::config::ConfigCommand;
use cli::serve::ServeArgs;
use client::print;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `corten config …`.
///
/// # Errors
/// The configuration is refused, or the daemon cannot be reached.
pub(crate) fn run(command: ConfigCommand) -> Result<(), Error> {
    match command {
        ConfigCommand::Default => print_default(),
        ConfigCommand::Status { config, admin, json } => status(config.as_deref(), admin, json),
        ConfigCommand::Import(arguments) => crate::import::run(&arguments),
        ConfigCommand::Dump { serve, json } => dump(&serve, json),
        ConfigCommand::Check { config, no_host } => check(config.as_deref(), no_host),
    }
}

/// `corten config default`.
fn print_default() -> Result<(), Error> {
    Ok(print(config::DEFAULT_TEXT)?)
}

/// `corten config dump`.
fn dump(arguments: &ServeArgs, json: bool) -> Result<(), Error> {
    let loaded = config::load_over(&config::defaults(arguments), arguments.config.as_deref())?;
    let settings = loaded.dump();
    if json {
        return Ok(print(&(serde_json::to_string(&settings).map_err(ClientError::from)? + "\n"))?);
    }
    Ok(print(&config::dump_text(&settings))?)
}

/// `corten config check`: success means that `corten serve` would accept the same files, and lacks nothing on this host but
/// what files that are right may be about.
fn check(file: Option<&Path>, no_host: bool) -> Result<(), Error> {
    let loaded = Arc::new(config::load(file)?);
    if !no_host {
        for line in config::check_host(&loaded).only_noted()?.lines() {
            error::note(&format!("on this host: {line}"));
        }
    }
    if loaded.files.is_empty() {
        return Ok(print("no configuration file, the defaults apply\n")?);
    }
    let mut text = String::new();
    for file in &loaded.files {
        text.push_str(&format!("{}: ok\n", file.display()));
    }
    Ok(print(&text)?)
}

/// Shows what the daemon has read; fails while the files are refused.
fn status(file: Option<&Path>, socket: Option<PathBuf>, json: bool) -> Result<(), Error> {
    let socket = match socket {
        Some(socket) => socket,
        // The daemon runs, whatever has become of its files.
        None => admin::socket(&config::state_dir(file)?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { what: "the asynchronous runtime", source })?;
    let status: ConfigStatus = runtime.block_on(async {
        let mut client = Client::connect(&socket).await?;
        client.get("/v1/config").await
    })?;
    if json {
        print(&(serde_json::to_string(&status).map_err(ClientError::from)? + "\n"))?;
    } else {
        print(&text(&status))?;
    }
    status.refused.map_or(Ok(()), |reason| Err(Error::Refused(reason)))
}

fn text(status: &ConfigStatus) -> String {
    let files: Vec<String> = status.files.iter().map(|file| file.display().to_string()).collect();
    let none = || "none".to_owned();
    let listed = |names: &[String]| if names.is_empty() { none() } else { names.join(", ") };
    let state = if status.refused.is_some() {
        "refused as they are now, the former settings stay"
    } else {
        "in force"
    };
    let problems = status.on_this_host.iter().map(|problem| format!("on this host         {problem}\n"));
    format!(
        "files                {}\nstate                {state}\nwaiting for restart  {}\n{}",
        listed(&files),
        listed(&status.waiting_for_restart),
        problems.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_named() {
        let status =
            ConfigStatus { waiting_for_restart: vec!["daemon.workers".into()], ..Default::default() };
        let said = text(&status);
        assert!(said.contains("files                none\nstate                in force\n"), "{said}");
        assert!(said.ends_with("waiting for restart  daemon.workers\n"), "{said}");
        let said = text(&ConfigStatus { on_this_host: vec!["a".into(), "b".into()], ..status });
        assert!(said.ends_with("daemon.workers\non this host         a\non this host         b\n"), "{said}");
    }
}
