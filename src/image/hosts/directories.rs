//! The directories of registries, in the order in which they are looked into.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// What separates directories in one text, as in containerd's `config_path`.
const SEPARATOR: char = ':';

/// Directories with one directory a registry. The first that has one for a registry, or one for all, says everything of
/// it, as with containerd. Written as a path, as paths with colons between them, or as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertsDirs(Vec<PathBuf>);

impl CertsDirs {
    /// The directories.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl From<&Path> for CertsDirs {
    fn from(path: &Path) -> Self {
        Self(vec![path.to_owned()])
    }
}

impl From<PathBuf> for CertsDirs {
    fn from(path: PathBuf) -> Self {
        Self(vec![path])
    }
}

impl From<&str> for CertsDirs {
    fn from(text: &str) -> Self {
        Self(text.split(SEPARATOR).filter(|part| !part.is_empty()).map(PathBuf::from).collect())
    }
}

impl FromIterator<PathBuf> for CertsDirs {
    fn from_iter<T: IntoIterator<Item = PathBuf>>(paths: T) -> Self {
        Self(paths.into_iter().collect())
    }
}

impl fmt::Display for CertsDirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.0.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&paths.join(":"))
    }
}

impl Serialize for CertsDirs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CertsDirs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = CertsDirs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path in quotes, several with colons between them, or a list of paths")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CertsDirs, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<CertsDirs, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = items.next_element()? {
            paths.push(path);
        }
        Ok(CertsDirs(paths))
    }
}
