//! `corten image pull`: a bar a layer on a terminal, the id alone elsewhere.

use crate::admin::{Client, ClientError, PullEvent, PullRequest};
use crate::cli::print;
use crate::error::Error;
use image::{LayerPhase, LayerProgress, PullProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;

/// Pulls and shows how it goes.
///
/// # Errors
/// The pull's.
pub(super) async fn run(client: &mut Client, request: &PullRequest, json: bool) -> Result<(), Error> {
    let mut lines = client.lines("/v1/pull", request).await?;
    // Hidden by itself where stderr is no terminal.
    let mut bars = Bars::new();
    while let Some(event) = lines.next::<PullEvent>().await? {
        if json {
            print(&(serde_json::to_string(&event).map_err(ClientError::from)? + "\n"))?;
        }
        match event {
            PullEvent::Progress(progress) => bars.show(&progress),
            PullEvent::Done(id) => {
                bars.finish();
                return if json { Ok(()) } else { print(&format!("{id}\n")) };
            }
            PullEvent::Failed(failure) => {
                bars.clear();
                return Err(ClientError::Refused(failure.error).into());
            }
        }
    }
    Err(ClientError::Cut.into())
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
    let short: String = layer.digest.rsplit(':').next().unwrap_or_default().chars().take(12).collect();
    let bar = ProgressBar::new(layer.size).with_prefix(short);
    let template = "{prefix} {bar:30} {bytes:>11}/{total_bytes:<11} {bytes_per_sec:>12} {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
