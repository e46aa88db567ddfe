//! What the files said when they were read: by it is seen that one was read while somebody writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The texts of files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts(BTreeMap<PathBuf, String>);

impl Texts {
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        self.0.insert(path.to_owned(), text.to_owned());
    }

    /// A file that says nothing any more.
    pub(crate) fn emptied(&self, former: &Self) -> Option<&Path> {
        let is_empty = |before: &str, now: &str| now.trim().is_empty() && !before.trim().is_empty();
        self.find(former, is_empty)
    }

    /// A file of which only the beginning is there any more.
    pub(crate) fn cut(&self, former: &Self) -> Option<&Path> {
        let is_cut = |before: &str, now: &str| before.starts_with(now) && before.trim_end() != now.trim_end();
        self.find(former, is_cut)
    }

    fn find(&self, former: &Self, is_so: impl Fn(&str, &str) -> bool) -> Option<&Path> {
        let found =
            self.0.iter().find(|(path, now)| former.0.get(*path).is_some_and(|before| is_so(before, now)));
        found.map(|(path, _)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_told_from_one_that_has_changed() {
        let texts = |text: &str| {
            let mut texts = Texts::default();
            texts.add(Path::new("a.toml"), text);
            texts
        };
        let before = texts("[log]\nlevel = \"info\"\n");
        for (now, emptied, cut) in [
            ("", true, true),
            (" \n", true, false),
            ("[log]\n", false, true),
            ("[log]\nlevel = \"info\"", false, false),
            ("[log]\nlevel = \"info\"\n# more", false, false),
            ("# nothing\n", false, false),
        ] {
            let now = texts(now);
            assert_eq!(
                (now.emptied(&before).is_some(), now.cut(&before).is_some()),
                (emptied, cut),
                "{now:?}"
            );
            // Of a file that was not there nothing is known.
            assert!(now.emptied(&Texts::default()).is_none() && now.cut(&Texts::default()).is_none());
        }
    }
}
