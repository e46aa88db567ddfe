//! Root filesystems made of this machine's programs, which come from Debian's packages.

use crate::error::{Context, Error};
use crate::layer::{Entry, Layer};
use crate::{command, tools};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A root filesystem under construction; parents come with what is put below them.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    layer: Layer,
    made: BTreeSet<String>,
}

impl Rootfs {
    /// Adds a directory with the ones above it; root's, like everything here.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.make_parents(path);
        if self.made.insert(path.to_owned()) {
            self.layer = self.layer.with(path, mode, Entry::Directory);
        }
        self
    }

    /// Adds a file; the path has no leading slash. The first one of a path stays.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.entry(path, mode, Entry::File(bytes.into()))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, Entry::Symlink(target.to_owned()))
    }

    /// Adds a program and the libraries that it is linked with.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn program(mut self, from: &Path, path: &str, mode: u32) -> Result<Self, Error> {
        self = self.file(path, mode, read(from)?);
        self.libraries(from)
    }

    /// Adds the libraries that a program is linked with.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn libraries(mut self, from: &Path) -> Result<Self, Error> {
        for library in libraries(from)? {
            let path = library.to_string_lossy().trim_start_matches('/').to_owned();
            if !self.made.contains(&path) {
                self = self.file(&path, 0o755, read(&library)?);
            }
        }
        Ok(self)
    }

    /// Adds Debian's dynamic busybox, with a hard link for each applet whose name in `bin` is free. (The static one
    /// runs its own applets before it looks at `$PATH`.)
    ///
    /// # Errors
    /// When busybox is not installed or cannot be read.
    pub fn busybox(mut self) -> Result<Self, Error> {
        let program = tools::system("busybox")?;
        self = self.program(&program, "bin/busybox", 0o755)?;
        for applet in applets(&program)? {
            self = self.entry(&format!("bin/{applet}"), 0o755, Entry::Hardlink("bin/busybox".to_owned()));
        }
        Ok(self)
    }

    /// The layer.
    pub fn layer(self) -> Layer {
        self.layer
    }

    fn entry(mut self, path: &str, mode: u32, entry: Entry) -> Self {
        self.make_parents(path);
        if self.made.insert(path.to_owned()) {
            self.layer = self.layer.with(path, mode, entry);
        }
        self
    }

    fn make_parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if self.made.insert(parent.to_owned()) {
                self.layer = std::mem::take(&mut self.layer).with(parent, 0o755, Entry::Directory);
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).at("read", path)
}

fn applets(program: &Path) -> Result<Vec<String>, Error> {
    let list = command::run(Command::new(program).arg("--list"), Duration::from_secs(60))?;
    Ok(list.lines().filter(|name| *name != "busybox" && !name.is_empty()).map(str::to_owned).collect())
}

/// What the dynamic loader would load, and the loader; nothing for a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, Error> {
    let finished = command::finish(Command::new("ldd").arg(program), Duration::from_secs(60))?;
    let paths =
        finished.stdout.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}
