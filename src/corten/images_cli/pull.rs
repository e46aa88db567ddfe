//! `corten image pull`: a bar a layer on a terminal, elsewhere a line when something happens to one. The id alone goes to
//! stdout.

use super::line_of;
use super::list::short;
use crate::admin::{Client, ClientError, PullEvent, PullRequest};
use crate::error::Error;
use client::print;
use client::table::size;
use image::{LayerPhase, LayerProgress, PullProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};

/// Pulls and shows how it goes.
///
/// # Errors
/// The pull's.
pub(super) async fn run(client: &mut Client, request: &PullRequest, json: bool) -> Result<(), Error> {
    let mut lines = client.lines("/v1/pull", request).await?;
    let mut bars = Bars::new();
    let mut plain = (!json && !io::stderr().is_terminal()).then(Plain::default);
    while let Some(event) = lines.next::<PullEvent>().await? {
        if json {
            print(&line_of(&event)?)?;
        }
        match event {
            PullEvent::Progress(progress) => match &mut plain {
                // Nobody may be listening.
                Some(plain) => drop(io::stderr().write_all(plain.lines(&progress).as_bytes())),
                None => bars.show(&progress),
            },
            PullEvent::Done(id) => {
                bars.finish();
                return if json { Ok(()) } else { Ok(print(&format!("{id}\n"))?) };
            }
            PullEvent::Failed(failure) => {
                bars.clear();
                return Err(ClientError::Refused(failure.error).into());
            }
        }
    }
    Err(ClientError::Cut.into())
}

/// What happens to the layers, in lines.
#[derive(Default)]
struct Plain {
    known: HashMap<String, LayerPhase>,
}

impl Plain {
    /// A line for each layer that is no more where it was.
    fn lines(&mut self, progress: &PullProgress) -> String {
        let mut text = String::new();
        for layer in &progress.layers {
            if self.known.insert(layer.digest.clone(), layer.phase) != Some(layer.phase) {
                let what = match layer.phase {
                    LayerPhase::Waiting => "waits",
                    LayerPhase::Pulling => "comes in",
                    LayerPhase::Done => "done",
                    LayerPhase::Cached => "is here",
                };
                text.push_str(&format!("{} {:>11} {what}\n", short(&layer.digest), size(layer.size)));
            }
        }
        text
    }
}

struct Bars {
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        Self { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), layers: HashMap::new() }
    }

    fn show(&mut self, progress: &PullProgress) {
        for layer in &progress.layers {
            let bar = match self.layers.get(&layer.digest) {
                Some(bar) => bar,
                None => {
                    let bar = self.all.add(bar(layer));
                    self.layers.entry(layer.digest.clone()).or_insert(bar)
                }
            };
            bar.set_position(layer.received);
            match layer.phase {
                LayerPhase::Waiting => bar.set_message("waits"),
                LayerPhase::Pulling => bar.set_message(""),
                LayerPhase::Done => bar.finish_with_message("done"),
                LayerPhase::Cached => bar.finish_with_message("is here"),
            }
        }
    }

    fn finish(&self) {
        for bar in self.layers.values().filter(|bar| !bar.is_finished()) {
            bar.finish_with_message("done");
        }
    }

    fn clear(&self) {
        // Only the drawing is left behind.
        let _ = self.all.clear();
    }
}

fn bar(layer: &LayerProgress) -> ProgressBar {
    let bar = ProgressBar::new(layer.size).with_prefix(short(&layer.digest));
    let template = "{prefix} {bar:30} {bytes:>11}/{total_bytes:<11} {bytes_per_sec:>12} {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_when_something_happens() {
        let layer = |digest: &str, phase| LayerProgress {
            digest: format!("sha256:{digest}"),
            size: 2048,
            received: 7,
            phase,
        };
        let show = |phases: [LayerPhase; 2]| PullProgress {
            number: 1,
            reference: "reg.example/app:1".into(),
            seconds: 0.1,
            layers: vec![layer("aaaa", phases[0]), layer("bbbb", phases[1])],
        };
        let mut plain = Plain::default();
        let first = plain.lines(&show([LayerPhase::Cached, LayerPhase::Pulling]));
        assert_eq!(first, "aaaa     2.0 KiB is here\nbbbb     2.0 KiB comes in\n");
        assert_eq!(plain.lines(&show([LayerPhase::Cached, LayerPhase::Pulling])), "");
        assert_eq!(plain.lines(&show([LayerPhase::Cached, LayerPhase::Done])), "bbbb     2.0 KiB done\n");
    }
}
