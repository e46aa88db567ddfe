//! `corten image verify`: what of the images is not what was pulled.

use super::credentials;
use super::line_of;
use super::list::short;
use crate::admin::{Client, ClientError, PullRequest, VerifyEvent, VerifyRequest};
use crate::error::Error;
use cli::image::CredentialArgs;
use client::print;
use image::{Damage, Part, VerifiedImage};
use serde::Serialize;

/// Asks for the images, one after the other, and shows each as it is known.
///
/// # Errors
/// When an image is damaged, or cannot be checked.
pub(super) async fn run(
    client: &mut Client,
    images: Vec<String>,
    repair: Option<&CredentialArgs>,
    json: bool,
) -> Result<(), Error> {
    let mut wanted = Vec::with_capacity(images.len());
    for reference in images {
        let found = repair.map(|args| credentials::find(args, &reference)).transpose()?;
        wanted.push(PullRequest { reference, secrets: found.and_then(|found| found.secrets) });
    }
    let request = VerifyRequest { images: wanted, repair: repair.is_some() };
    let mut lines = client.lines("/v1/verify", &request).await?;
    let mut outcome = Outcome::default();
    while let Some(event) = lines.next::<VerifyEvent>().await? {
        match event {
            VerifyEvent::Image(image) => {
                print(&if json { line_of(&VerifyEvent::Image(image.clone()))? } else { text(&image) })?;
                outcome.add(&image);
            }
            VerifyEvent::Done => {
                if json {
                    print(&line_of(&Last { done: &outcome })?)?;
                }
                let damaged = outcome.damaged.join(", ");
                return if damaged.is_empty() { Ok(()) } else { Err(Error::Damaged(damaged)) };
            }
            VerifyEvent::Failed(failure) => {
                if json {
                    print(&line_of(&VerifyEvent::Failed(failure.clone()))?)?;
                }
                return Err(ClientError::Refused(failure.error).into());
            }
        }
    }
    Err(ClientError::Cut.into())
}

/// What a verification comes to.
#[derive(Default, Serialize)]
struct Outcome {
    whole: usize,
    repaired: usize,
    /// By name.
    damaged: Vec<String>,
}

/// The last line of JSON.
#[derive(Serialize)]
struct Last<'a> {
    done: &'a Outcome,
}

impl Outcome {
    fn add(&mut self, image: &VerifiedImage) {
        match (image.damage.is_empty(), image.is_whole()) {
            (true, _) => self.whole += 1,
            (false, true) => self.repaired += 1,
            (false, false) => self.damaged.push(name(image)),
        }
    }
}

fn name(image: &VerifiedImage) -> String {
    if image.names.is_empty() { image.id.clone() } else { image.names.join(" ") }
}

/// A line an image, and one for each thing that is wrong with it.
fn text(image: &VerifiedImage) -> String {
    let state = match (image.damage.is_empty(), image.is_whole()) {
        (true, _) => "whole",
        (false, true) => "repaired",
        (false, false) => "damaged",
    };
    let mut text = format!("{state:<9} {} {}\n", short(&image.id), name(image));
    for damage in &image.damage {
        text.push_str(&format!("          {}\n", line(damage)));
    }
    if let Some(problem) = &image.unrepaired {
        text.push_str(&format!("          not repaired: {problem}\n"));
    }
    text
}

fn line(damage: &Damage) -> String {
    let part = match damage.part {
        Part::Layer => "layer",
        Part::Blob => "blob",
        Part::Attributes => "directories made for",
    };
    let mut line = format!("{part} {}: {}", damage.digest, damage.problem);
    if damage.repaired {
        line.push_str("; now right");
    }
    if damage.containers > 0 {
        line.push_str(&match damage.containers {
            1 => "; 1 container uses it as it was until it is made anew".to_owned(),
            containers => format!("; {containers} containers use it as it was until they are made anew"),
        });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_named_and_what_became_of_it() {
        let damage = Damage {
            part: Part::Layer,
            digest: "sha256:ab".into(),
            problem: "etc/x is missing".into(),
            repaired: false,
            containers: 2,
        };
        let mut image = VerifiedImage {
            id: format!("sha256:{}", "1234567890ab".repeat(5)),
            names: vec!["reg.example/app:1".into()],
            damage: Vec::new(),
            unrepaired: None,
        };
        assert_eq!(text(&image), "whole     1234567890ab reg.example/app:1\n");
        image.damage.push(damage);
        image.unrepaired = Some("no host".into());
        let shown = text(&image);
        for part in ["damaged ", "layer sha256:ab: etc/x is missing; 2 containers", "not repaired: no host"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        image.damage.iter_mut().for_each(|damage| damage.repaired = true);
        assert!(text(&image).starts_with("repaired "), "{}", text(&image));
    }
}
