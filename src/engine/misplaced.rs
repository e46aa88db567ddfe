//! What of the state is of the wrong kind, for whoever looks before a daemon starts.

use crate::record::PodFiles;
use crate::room::REMOVED;
use crate::settings::Paths;
use std::fs;
use std::path::{Path, PathBuf};
use sys::aside::Wanted;

impl Paths {
    /// The places in which something else lies than the daemon has made there, with what it is not. Nothing is changed,
    /// and no daemon asked.
    pub fn misplaced(&self) -> Vec<(PathBuf, Wanted)> {
        let reserve = self.store().with_extension("reserve");
        let [boot, state] = ["boot-id", "version"].map(|name| self.state.join(name));
        let files = [boot, state, self.data.join("version"), self.store(), reserve];
        let directories = [self.pods(), self.rootfs(), self.empty(), self.layers()];
        let files = files.into_iter().map(|path| (path, Wanted::File));
        let directories = directories.into_iter().map(|path| (path, Wanted::Directory));
        let mut found: Vec<_> =
            files.chain(directories).filter(|(path, wanted)| wanted.is_missed_at(path)).collect();
        for name in names(&self.pods()).into_iter().filter(|name| !name.starts_with(REMOVED)) {
            of_pod(&PodFiles::new(self, &name), &mut found);
        }
        found
    }
}

fn of_pod(files: &PodFiles, found: &mut Vec<(PathBuf, Wanted)>) {
    let containers = files.containers();
    // A link leads to a directory of somebody else.
    if let Some(none) = [files.dir(), &containers].into_iter().find(|path| is_no_directory(path)) {
        found.push((none.to_owned(), Wanted::Directory));
        return;
    }
    let is_kept = |name: &String| name.ends_with(".json") || name.ends_with(".spec");
    let kept = names(&containers).into_iter().filter(is_kept).map(|name| containers.join(name));
    let files = std::iter::once(files.pod()).chain(kept).filter(|path| Wanted::File.is_missed_at(path));
    found.extend(files.map(|path| (path, Wanted::File)));
}

fn is_no_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir())
}

/// The names in a directory; none where it cannot be read.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
