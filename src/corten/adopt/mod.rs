//! `corten adopt …`: takes over from another runtime on this node. The images' names are read here; the daemon reads and
//! unpacks their content.

mod bolt;
mod containerd;
#[cfg(test)]
mod tests;

pub(crate) use containerd::ForeignError;

use crate::admin::{self, AdoptRequest, Client, ClientError};
use crate::config;
use crate::error::Error;
use crate::images_cli::credentials;
use cli::adopt::{AdoptArgs, AdoptCommand, AdoptImagesArgs};
use client::print;
use containerd::ForeignImage;
use image::Adopted;
use serde::Serialize;

/// What became of one image.
#[derive(Debug, Serialize)]
struct Outcome {
    /// What it is called.
    image: String,
    /// `adopted`, `known`, `skipped` or `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    /// Names that mean another image here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    taken: Vec<String>,
    /// Whether a registry was asked for what was missing.
    fetched: bool,
    pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// `corten adopt …`.
///
/// # Errors
/// When the other runtime's images cannot be listed, the daemon cannot be reached, or some image could not be taken over.
pub(crate) fn run(arguments: AdoptArgs) -> Result<(), Error> {
    let AdoptCommand::Images(arguments) = arguments.command;
    let images = containerd::images(&arguments.root, &arguments.namespace)?;
    let socket = match &arguments.admin {
        Some(socket) => socket.clone(),
        None => admin::socket(&config::state_dir(arguments.config.as_deref())?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { what: "the asynchronous runtime", source })?;
    runtime.block_on(async {
        let mut client = Client::connect(&socket).await?;
        adopt(&mut client, &arguments, images).await
    })
}

async fn adopt(
    client: &mut Client,
    arguments: &AdoptImagesArgs,
    images: Vec<ForeignImage>,
) -> Result<(), Error> {
    let (mut adopted, mut known, mut skipped, mut failed) = (0, 0, 0, 0);
    for image in &images {
        let outcome = one(client, arguments, image).await?;
        *match outcome.outcome {
            "adopted" => &mut adopted,
            "known" => &mut known,
            "skipped" => &mut skipped,
            _ => &mut failed,
        } += 1;
        let json = || serde_json::to_string(&outcome).map_err(ClientError::from);
        print(&if arguments.json { json()? + "\n" } else { line(&outcome) })?;
    }
    if !arguments.json {
        print(&format!("{adopted} adopted, {known} here before, {skipped} skipped, {failed} failed\n"))?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Error::Unadopted { failed, all: images.len(), may_pull: !arguments.pull_missing }),
    }
}

/// Asks the daemon for one image; what is wrong with it is told, and the next one has its turn.
async fn one(
    client: &mut Client,
    arguments: &AdoptImagesArgs,
    image: &ForeignImage,
) -> Result<Outcome, Error> {
    let called = image.names.first().or(image.odd.first()).unwrap_or(&image.digest).clone();
    let plain = |outcome, why| Outcome {
        image: called.clone(),
        outcome,
        id: None,
        names: Vec::new(),
        taken: Vec::new(),
        fetched: false,
        pinned: image.pinned,
        why: Some(why),
    };
    let Some(name) = image.names.first() else {
        let why = "no name of it is one by which the kubelet could ask for it".to_owned();
        return Ok(plain("skipped", why));
    };
    let digest = match containerd::digest(image) {
        Ok(digest) => digest,
        Err(why) => return Ok(plain("skipped", why)),
    };
    let secrets = match arguments.pull_missing {
        true => credentials::find(&arguments.credentials, name)?.secrets,
        false => None,
    };
    let request = AdoptRequest {
        content: containerd::content(&arguments.root),
        names: image.names.clone(),
        digest,
        media_type: image.media_type.clone(),
        pinned: image.pinned,
        pull: arguments.pull_missing,
        secrets,
    };
    match client.post::<Adopted>("/v1/adopt", &request).await {
        Ok(Adopted { skipped: Some(why), .. }) => Ok(plain("skipped", why)),
        Ok(done) => Ok(Outcome {
            outcome: if done.known { "known" } else { "adopted" },
            id: Some(done.id),
            names: done.names,
            taken: done.taken,
            fetched: done.fetched,
            why: None,
            ..plain("", String::new())
        }),
        Err(ClientError::Refused(why)) => Ok(plain("failed", why)),
        Err(error) => Err(error.into()),
    }
}

fn line(outcome: &Outcome) -> String {
    let mut notes = Vec::new();
    if outcome.fetched {
        notes.push("what was missing came from its registry".to_owned());
    }
    if outcome.pinned && outcome.id.is_some() {
        notes.push("pinned".to_owned());
    }
    notes.extend(outcome.taken.iter().map(|name| format!("{name} is another image here, and stays that")));
    notes.extend(outcome.why.clone());
    let notes = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
    format!("{:<8} {}{notes}\n", outcome.outcome, outcome.image)
}
