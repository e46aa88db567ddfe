//! What lies in the directory of plugins.

use crate::join::Name;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// So much of what cannot be started is told: it may be the wrong directory.
const TOLD: usize = 32;

/// What a directory of plugins has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Plugins that are started, as `10-name`.
    pub plugins: Vec<String>,
    /// What is not started although it lies there, the first of it.
    pub unfit: Vec<Unfit>,
}

/// Something that is not started as a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What it is called, as it can be shown.
    pub file: String,
    /// Why it is not started.
    pub why: Unfitness,
}

/// Why something is not started as a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfitness {
    /// It is not executable.
    #[error("nobody may execute it: chmod +x, and SIGHUP to the daemon")]
    NotExecutable,
    /// It has no name of a plugin.
    #[error("its name is not of the form 10-name: two digits, a dash, and letters, digits or any of -_.+")]
    Name,
    /// The kernel does not execute such files, and the C library would hand them to a shell.
    #[error("it is no program for this machine, and no script that begins with #!")]
    NoProgram,
    /// The kernel does not find what it names to be run by.
    #[error("its interpreter {} is not there", .0.display())]
    NoInterpreter(PathBuf),
    /// It is a link whose target is not there.
    #[error("it is a link to {}, which is not there", .0.display())]
    Dangling(PathBuf),
    /// It is a directory.
    #[error("it is a directory, and no plugin is looked for in it")]
    Directory,
    /// It is something else that cannot be executed.
    #[error("it is no file")]
    NoFile,
    /// Nobody knows what it is.
    #[error("it cannot be looked at: {0}")]
    Unseen(String),
}

/// The same as [`Directory`], with what it takes to start them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) plugins: Vec<(Name, PathBuf)>,
    pub(crate) unfit: Vec<Unfit>,
}

/// What a directory of plugins has. Nothing is started.
///
/// # Errors
/// The directory cannot be read.
pub fn look(directory: &Path) -> io::Result<Directory> {
    let Found { plugins, unfit } = find(directory)?;
    Ok(Directory { plugins: plugins.iter().map(|(name, _)| name.full()).collect(), unfit })
}

pub(crate) fn find(directory: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(file) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        // Editors and mounts of ConfigMaps leave such behind.
        if file.starts_with('.') {
            continue;
        }
        let name = path.file_name().and_then(|name| Name::parse(name.to_str()?));
        match (why_not(&path, name.is_some()), name) {
            (Ok(true), Some(name)) => found.plugins.push((name, path)),
            (Ok(_), _) => {}
            (Err(why), _) => found.unfit.push(Unfit { file: model::printable(&file).into_owned(), why }),
        }
    }
    found.plugins.sort();
    found.unfit.sort_by(|one, other| one.file.cmp(&other.file));
    found.unfit.truncate(TOLD);
    Ok(found)
}

/// Whether something is a plugin. A file that neither is called as one nor can be executed is nobody's mistake.
fn why_not(path: &Path, is_named: bool) -> Result<bool, Unfitness> {
    // It may be a link.
    let file = fs::metadata(path).map_err(|error| match fs::read_link(path) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => Unfitness::Dangling(target),
        _ => Unfitness::Unseen(error.to_string()),
    })?;
    let is_executable = file.permissions().mode() & 0o111 != 0;
    match (file.is_file(), is_executable, is_named) {
        _ if file.is_dir() => Err(Unfitness::Directory),
        (false, ..) => Err(Unfitness::NoFile),
        (true, true, true) if !sys::exec::is_program(path) => Err(Unfitness::NoProgram),
        (true, true, true) => {
            sys::interpreter::missing(path).map_or(Ok(true), |missing| Err(Unfitness::NoInterpreter(missing)))
        }
        (true, true, false) => Err(Unfitness::Name),
        (true, false, true) => Err(Unfitness::NotExecutable),
        (true, false, false) => Ok(false),
    }
}
