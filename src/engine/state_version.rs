//! A release that reads state of another version must not begin: it would take what it does not understand for damage,
//! list pods that run as gone, and free what they use.

use crate::error::EngineError;
use crate::mirror;
use crate::record::{self, PodFiles, VERSION};
use crate::room::REMOVED;
use crate::settings::Paths;
use std::fs;
use std::io::Read as _;
use std::path::Path;

/// In both directories: the version of all that lies in them.
const FILE: &str = "version";
const KIND: &str = "state";
/// A first line is shorter.
const LINE: u64 = 64;

impl Paths {
    /// Makes sure that the state is of this release's version before anything reads or changes it, and says so in
    /// directories that are new. Both directories must be there, and locked.
    ///
    /// # Errors
    /// The state, or a record, is of another version: then nothing has been changed. Or it cannot be read or written.
    pub fn claim(&self) -> Result<(), EngineError> {
        let marks = [self.state.join(FILE), self.data.join(FILE)];
        for mark in &marks {
            check_file(mark)?;
        }
        self.check_records()?;
        // After a reboot nothing but the durable copies tells of the pods.
        mirror::recognise(&self.store())?;
        sys::fs::sweep_temporaries(&self.state);
        sys::fs::sweep_temporaries(&self.data);
        let line = record::first_line(KIND);
        for mark in &marks {
            if !first_line(mark).is_ok_and(|written| written == line) {
                sys::fs::write_atomic(mark, &line, 0o600)
                    .map_err(EngineError::sys(format!("write {mark:?}")))?;
            }
        }
        Ok(())
    }

    fn check_records(&self) -> Result<(), EngineError> {
        for pod in names(&self.pods()).filter(|name| !name.starts_with(REMOVED)) {
            let files = PodFiles::new(self, &pod);
            check_file(&files.pod())?;
            for name in names(&files.containers()).filter(|name| name.ends_with(".json")) {
                check_file(&files.containers().join(name))?;
            }
        }
        Ok(())
    }
}

/// Passes what is not there, cannot be read, or does not begin as a record: that is damage, and handled as such.
fn check_file(path: &Path) -> Result<(), EngineError> {
    first_line(path).map_or(Ok(()), |line| check(&line, path))
}

/// The beginning of a file; of nothing else, whose opening or reading might not end.
fn first_line(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    sys::regular::open_regular(path)?.take(LINE).read_to_end(&mut line)?;
    Ok(line)
}

/// Passes what begins as a record of this version, or as none.
pub(crate) fn check(bytes: &[u8], path: &Path) -> Result<(), EngineError> {
    match record::version(bytes) {
        Some(found) if found != VERSION => Err(EngineError::OtherState { path: path.to_owned(), found }),
        _ => Ok(()),
    }
}

/// The names in a directory; none where it cannot be read.
fn names(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    struct Node {
        dir: tempfile::TempDir,
        paths: Paths,
    }

    impl Node {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths { state: dir.path().join("state"), data: dir.path().join("data") };
            for path in [&paths.data, &paths.pods().join("p/containers")] {
                fs::create_dir_all(path).unwrap();
            }
            Self { dir, paths }
        }

        /// Every file with its content.
        fn files(&self) -> Vec<(std::path::PathBuf, Vec<u8>)> {
            let (mut found, mut dirs) = (Vec::new(), vec![self.dir.path().to_owned()]);
            while let Some(dir) = dirs.pop() {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        dirs.push(path);
                    } else {
                        found.push((path.clone(), fs::read(path).unwrap()));
                    }
                }
            }
            found.sort();
            found
        }
    }

    #[test]
    fn new_directories_are_marked_and_recognised() {
        let node = Node::new();
        node.paths.claim().unwrap();
        let marked = node.files();
        assert_eq!(marked.len(), 2);
        assert!(marked.iter().all(|(path, text)| path.ends_with("version") && text == b"corten state 1\n"));
        node.paths.claim().unwrap();
        assert_eq!(node.files(), marked);
        // What a crash of the machine has emptied is written anew.
        fs::write(node.paths.data.join("version"), "").unwrap();
        node.paths.claim().unwrap();
        assert_eq!(node.files(), marked);
    }

    #[test]
    fn state_of_another_version_is_left_as_it_is() {
        for file in
            ["state/version", "data/version", "state/pods/p/pod.json", "state/pods/p/containers/c.json"]
        {
            for (line, words) in [
                (
                    "corten pod 2\nwhatever",
                    "is of version 2 of the state, and this corten reads version 1: a newer release wrote it",
                ),
                (
                    "{\"version\":1}",
                    "is of version 0 of the state, and this corten reads version 1: a build before 0.1.0 wrote it",
                ),
            ] {
                let node = Node::new();
                let path = node.dir.path().join(file);
                fs::write(&path, line).unwrap();
                let before = node.files();
                let refused = node.paths.claim().unwrap_err();
                assert_eq!(refused.kind(), model::ErrorKind::FailedPrecondition);
                let text = refused.to_string();
                assert!(text.starts_with(&format!("{} {words}", path.display())), "{text}");
                assert_eq!(node.files(), before);
            }
        }
    }

    #[test]
    fn durable_copies_of_another_version_are_left_as_they_are() {
        let node = Node::new();
        mirror::write_former(&node.paths.store(), "pod/a");
        let before = node.files();
        let refused = node.paths.claim().unwrap_err().to_string();
        let words =
            "state.redb is of version 0 of the state, and this corten reads version 1: a build before 0.1.0";
        assert!(refused.contains(words), "{refused}");
        assert!(node.files() == before, "something has changed");
    }

    #[test]
    fn damage_is_no_version() {
        let node = Node::new();
        fs::write(node.paths.pods().join("p/pod.json"), [0xff; 100]).unwrap();
        node.paths.claim().unwrap();
    }

    #[test]
    fn what_is_no_file_has_no_version_and_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        use std::os::unix::fs::symlink;
        type Make<'a> = &'a dyn Fn(&Path) -> std::io::Result<()>;
        let kinds: [(&str, Make<'_>); 5] = [
            ("a directory", &|path| fs::create_dir_all(path.join("full"))),
            ("a link to itself", &|path| symlink(path, path)),
            ("a link to a device", &|path| symlink("/dev/zero", path)),
            ("a fifo", &|path| Ok(mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0)?)),
            ("a socket", &|path| Ok(mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0)?)),
        ];
        let places = [
            "state/version",
            "data/version",
            "state/pods/p/pod.json",
            "state/pods/p/containers",
            "state/pods",
        ];
        for place in places {
            for (kind, make) in kinds {
                let node = Node::new();
                let path = node.dir.path().join(place);
                sys::tree::remove(&path).unwrap();
                make(&path).unwrap();
                node.paths.claim().unwrap_or_else(|error| panic!("{place}, {kind}: {error}"));
                for mark in ["state/version", "data/version"] {
                    assert_eq!(
                        fs::read(node.dir.path().join(mark)).unwrap(),
                        b"corten state 1\n",
                        "{place}, {kind}"
                    );
                }
            }
        }
    }
}
