//! `corten image …`: looks after the images of a running daemon, over its administration socket.

mod archive;
pub(crate) mod credentials;
mod explain;
mod list;
mod load;
mod pull;
mod save;
mod verify;

use crate::admin::{self, Client, ClientError, ImageView, PullRequest, RemoveRequest, Sought};
use crate::config;
use crate::error::Error;
use cli::image::{ImageArgs, ImageCommand};
use client::print;
use image::Pruned;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// `corten image …`.
///
/// # Errors
/// When the daemon cannot be reached, or refuses.
pub(crate) fn run(arguments: ImageArgs) -> Result<(), Error> {
    if let ImageCommand::ReadArchive { archive } = &arguments.command {
        return archive::run(archive);
    }
    let socket = match arguments.admin {
        Some(socket) => socket,
        None => admin::socket(&config::load(arguments.config.as_deref())?.config.state_dir),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { what: "the asynchronous runtime", source })?;
    runtime.block_on(async {
        let client = Client::connect(&socket).await?;
        Session { client, json: arguments.json }.run(arguments.command).await
    })
}

/// One command's talk with the daemon.
struct Session {
    client: Client,
    json: bool,
}

impl Session {
    async fn run(mut self, command: ImageCommand) -> Result<(), Error> {
        match command {
            // It asks no daemon.
            ImageCommand::ReadArchive { archive } => archive::run(&archive),
            ImageCommand::Ls => self.list("/v1/images", list::images).await,
            ImageCommand::Df => {
                let usage = self.client.get("/v1/usage").await?;
                self.tell(&usage, list::usage)
            }
            ImageCommand::Ps => self.list("/v1/pulls", list::pulls).await,
            ImageCommand::Inspect { image } => {
                let view: serde_json::Value = self.client.post("/v1/inspect", &image).await?;
                Ok(print(&if self.json { line_of(&view)? } else { pretty(&view)? })?)
            }
            ImageCommand::Load { archive, name } => {
                let loaded = self.client.load(load::open(&archive).await?, name.as_deref()).await?;
                load::nameless(&loaded);
                self.tell(&loaded, list::loaded)
            }
            ImageCommand::Save { images, output, layout } => {
                let saved = save::run(&mut self.client, &images, &output, layout).await?;
                // Into stdout goes the archive.
                if self.json && output != Path::new("-") {
                    print(&line_of(&saved)?)?;
                }
                Ok(())
            }
            ImageCommand::Verify { images, repair, credentials } => {
                let images = self.named(images, repair).await?;
                verify::run(&mut self.client, images, repair.then_some(&credentials), self.json).await
            }
            ImageCommand::Rm { images } => self.remove(images).await,
            ImageCommand::Prune { all } => {
                let pruned: Pruned = self.client.post("/v1/prune", &all).await?;
                self.tell(&pruned, list::pruned)
            }
            ImageCommand::Pull { reference, credentials } => {
                let found = credentials::find(&credentials, &reference)?;
                let request = PullRequest { reference, secrets: found.secrets };
                pull::run(&mut self.client, &request, self.json).await
            }
            ImageCommand::Explain { reference, credentials } => {
                let found = credentials::find(&credentials, &reference)?;
                let request = PullRequest { reference, secrets: found.secrets };
                let explained = self.client.post("/v1/explain", &request).await?;
                self.tell(&explained, |explained| explain::text(explained, &found.source))
            }
        }
    }

    /// The images that are named. For a repair all of them by name, so that each has the credentials of its registry.
    async fn named(&mut self, images: Vec<String>, repair: bool) -> Result<Vec<String>, Error> {
        if !images.is_empty() || !repair {
            return Ok(images);
        }
        let all: Vec<ImageView> = self.client.get("/v1/images").await?;
        let name = |image: ImageView| {
            let names = image.tags.into_iter().chain(image.digests);
            names.chain([image.id]).next().unwrap_or_default()
        };
        Ok(all.into_iter().map(name).collect())
    }

    async fn list<T: DeserializeOwned + Serialize>(
        &mut self,
        path: &str,
        text: impl Fn(&[T]) -> String,
    ) -> Result<(), Error> {
        let entries: Vec<T> = self.client.get(path).await?;
        self.tell_all(&entries, text)
    }

    fn tell_all<T: Serialize>(&self, entries: &[T], text: impl Fn(&[T]) -> String) -> Result<(), Error> {
        if !self.json {
            return Ok(print(&text(entries))?);
        }
        Ok(print(&entries.iter().map(line_of).collect::<Result<String, Error>>()?)?)
    }

    fn tell<T: Serialize>(&self, answer: &T, text: impl Fn(&T) -> String) -> Result<(), Error> {
        Ok(print(&if self.json { line_of(answer)? } else { text(answer) })?)
    }

    async fn remove(&mut self, images: Vec<String>) -> Result<(), Error> {
        let outcome: Vec<Sought> = self.client.post("/v1/remove", &RemoveRequest { images }).await?;
        let missing: Vec<String> =
            outcome.iter().filter(|sought| !sought.found).map(|sought| sought.name.clone()).collect();
        self.tell_all(&outcome, |outcome| {
            outcome.iter().flat_map(|sought| &sought.names).map(|name| format!("{name}\n")).collect()
        })?;
        if missing.is_empty() { Ok(()) } else { Err(Error::NoSuchImage(missing.join(", "))) }
    }
}

/// A value as `--json` prints it.
fn line_of(value: &impl Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string(value).map_err(ClientError::from)? + "\n")
}

fn pretty(value: &impl Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(value).map_err(ClientError::from)? + "\n")
}
