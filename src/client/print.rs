//! What goes to stdout.

use std::io::{self, IsTerminal as _, Write};

/// stdout cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
pub struct PrintError(#[from] io::Error);

impl PrintError {
    /// Whether its reader has gone away, as with `| head`: whoever goes on printing may end, and has not failed.
    pub fn is_reader_gone(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints to stdout, and nothing that acts on a terminal; a reader that has gone away (`| head`) is no failure.
///
/// # Errors
/// stdout cannot be written.
pub fn print(text: &str) -> Result<(), PrintError> {
    print_styled(&model::printable(text))
}

/// The same of a text with colours of its own, in which what is others' is printable already.
///
/// # Errors
/// stdout cannot be written.
pub fn print_styled(text: &str) -> Result<(), PrintError> {
    match write(text.as_bytes()) {
        Err(error) if !error.is_reader_gone() => Err(error),
        _ => Ok(()),
    }
}

/// Writes to stdout as it is.
///
/// # Errors
/// stdout cannot be written.
pub(crate) fn write(bytes: &[u8]) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(bytes).and_then(|()| out.flush())?)
}

/// Whether colours may be printed: to a terminal that can show them, where nobody says NO_COLOR (<https://no-color.org>).
pub fn has_colors() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}
