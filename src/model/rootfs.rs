//! What the root filesystem of an image is made of.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The files of an image, from the store through the record of a container to its plan: a value, so that another kind of
/// image is another variant, for which the compiler names every place that has to know.
///
/// In a record layers are a bare list. Another variant has to be told apart from it: by a map with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rootfs {
    /// Directories that an overlay shows as one, the topmost first.
    Layers(Vec<PathBuf>),
}

impl Rootfs {
    /// The directory that decides what the root itself looks like: its owner and its mode.
    #[must_use]
    pub fn top(&self) -> Option<&Path> {
        match self {
            Self::Layers(layers) => layers.first().map(PathBuf::as_path),
        }
    }

    /// Every directory of the store that it is made of, the topmost first.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        match self {
            Self::Layers(layers) => layers,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_layers_as_it_always_had() {
        let rootfs = Rootfs::Layers(vec!["/l/top".into(), "/l/base".into()]);
        let text = r#"["/l/top","/l/base"]"#;
        assert_eq!(serde_json::to_string(&rootfs).unwrap(), text);
        assert_eq!(serde_json::from_str::<Rootfs>(text).unwrap(), rootfs);
        assert!(serde_json::from_str::<Rootfs>(r#"{"erofs": "/e"}"#).is_err(), "one that is not known yet");
        assert_eq!(rootfs.top(), Some(Path::new("/l/top")));
    }
}
