//! What goes to stdout.

use std::io::{self, Write};

/// stdout cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
pub struct PrintError(#[from] io::Error);

/// Prints to stdout, and nothing that acts on a terminal; a reader that has gone away (`| head`) is no failure.
///
/// # Errors
/// stdout cannot be written.
pub fn print(text: &str) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    match out.write_all(model::printable(text).as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(PrintError(source)),
        _ => Ok(()),
    }
}
