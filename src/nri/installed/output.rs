//! What a plugin that was started here prints.

use crate::quiet::{Quiet, told};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// A longer line is told in pieces.
const LINE: u64 = 1 << 10;
/// Lines of a plugin that are told at once.
const LINES: u32 = 200;
/// So much of the last line is kept.
const KEPT: usize = 200;

/// The last line that somebody has written.
#[derive(Debug, Clone, Default)]
pub(super) struct Last(Arc<Mutex<String>>);

impl Last {
    fn note(&self, line: &str) {
        if !line.is_empty() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = line.chars().take(KEPT).collect();
        }
    }

    pub(super) fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells what a plugin says, line by line, and no more than anybody would read.
pub(super) async fn follow(source: impl AsyncRead + Unpin, plugin: String, last: Option<Last>) {
    let (mut reader, mut quiet) = (BufReader::with_capacity(4 << 10, source), Quiet::of(LINES));
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        // A terminal on which somebody reads the log is not the plugin's.
        let line = model::printable(line.trim_end());
        if let Some(last) = &last {
            last.note(&line);
        }
        if let Some(unsaid) = quiet.may_say() {
            tracing::info!(plugin, unsaid = told(unsaid), "{line}");
        }
    }
}
