//! `corten config status`: what a running daemon made of its files.

use crate::admin::{self, Client, ClientError};
use crate::cli::print;
use crate::config;
use crate::error::Error;
use crate::reload::ConfigStatus;
use std::path::{Path, PathBuf};

/// Shows it; fails while the files are refused.
///
/// # Errors
/// The daemon cannot be reached, or refuses its files.
pub(crate) fn status(file: Option<&Path>, socket: Option<PathBuf>, json: bool) -> Result<(), Error> {
    let socket = match socket {
        Some(socket) => socket,
        // The daemon runs, whatever has become of its files.
        None => admin::socket(&config::state_dir(file)),
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
    format!(
        "files                {}\nstate                {state}\nwaiting for restart  {}\n",
        listed(&files),
        listed(&status.waiting_for_restart)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_named() {
        let status =
            ConfigStatus { waiting_for_restart: vec!["daemon.workers".into()], ..Default::default() };
        let text = text(&status);
        assert!(text.contains("files                none\nstate                in force\n"), "{text}");
        assert!(text.ends_with("waiting for restart  daemon.workers\n"), "{text}");
    }
}
