//! `corten config import`: the settings of another runtime as Corten's, and what of them has no counterpart.

mod containerd;
mod crio;
mod implied;
mod read;
mod report;
mod rule;
#[cfg(test)]
mod tests;

use crate::error::Error;
use cli::import::{ImportArgs, Origin};
use client::print;
use engine::{CgroupDriver, Settings};
use read::Leaf;
use report::Import;
use rule::Fate;
use std::io;
use std::path::PathBuf;

/// Why another runtime's configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The system refuses.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML. The line itself may hold a secret.
    #[error("{}:{line} is no TOML{}: {reason}", path.display(), key.as_ref().map(|key| format!(", at `{key}`")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The key that is set there, where it can be told.
        key: Option<String>,
        /// The parser's answer.
        reason: String,
    },
    /// The file of the other one, or of neither.
    #[error("{}: this looks like {whose}: see --from", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it seems to be.
        whose: &'static str,
    },
    /// containerd's oldest format, or a newer one.
    #[error("{}: version {version} of containerd's configuration is not known here: `containerd config migrate` makes a newer one of version 1", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        version: String,
    },
}

/// A key with what becomes of it.
type Verdict = (Leaf, Fate);

/// `corten config import`: Corten's configuration to stdout, the report to stderr.
///
/// # Errors
/// The files cannot be read.
pub(crate) fn run(arguments: &ImportArgs) -> Result<(), Error> {
    let mut import = import(arguments)?;
    let wanted = Settings { cgroup_driver: CgroupDriver::Systemd, ..Settings::default() };
    if let Err(problem) = wanted.host_cgroups() {
        import.refuse_systemd(&problem);
    }
    let report = if arguments.json { import.json() } else { import.text() };
    // Nobody is left to tell when stderr is closed.
    let _ = io::Write::write_all(&mut io::stderr(), engine::printable(&report).as_bytes());
    Ok(print(&import.configuration())?)
}

fn import(arguments: &ImportArgs) -> Result<Import, ImportError> {
    let file = &arguments.file;
    let (whose, verdicts, unsaid) = match arguments.from {
        Origin::Containerd => {
            let leaves = read::containerd(file)?;
            ("containerd", containerd::verdicts(file, &leaves)?, containerd::unsaid(&leaves))
        }
        Origin::Crio => ("CRI-O", crio::verdicts(file, &read::crio(file)?)?, None),
    };
    let mut import = Import { whose, file: file.clone(), verdicts, unsaid };
    import.refuse_mistakes();
    Ok(import)
}
