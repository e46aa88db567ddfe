//! The file that tells a caller which process was made.

use crate::error::{Error, Result};
use std::io::Write;
use std::path::Path;
use sys::SysError;
use sys::output::Output;

/// Writes the process's id to where the caller named: whole, or not at all.
pub(crate) fn write(path: &Path, pid: i32) -> Result<()> {
    let written = Output::create(path).and_then(|mut file| {
        write!(file, "{pid}")?;
        file.finish()
    });
    written.map_err(SysError::io("write", path)).map_err(Error::from)
}
