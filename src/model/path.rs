//! Paths that a request names.

use crate::value::{ValueError, ValueResult};
use std::path::Path;

/// The kernel's PATH_MAX, less its NUL.
const PATH_MAX: usize = 4095;

text_value!(
    /// A path that begins at a root, leads nowhere upwards and is one that the kernel takes.
    AbsPath,
    absolute
);

impl AbsPath {
    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(self.as_str())
    }
}

impl AsRef<Path> for AbsPath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

/// The root.
impl Default for AbsPath {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

fn absolute(path: String) -> ValueResult<String> {
    if !path.starts_with('/') {
        return Err(ValueError::Relative);
    }
    check_inside(&path)?;
    Ok(path)
}

/// Whether a path, absolute or not, leads nowhere upwards and is one that the kernel takes.
///
/// # Errors
/// [`ValueError::Nul`], [`ValueError::TooLong`] or [`ValueError::Climbs`].
pub fn check_inside(path: &str) -> ValueResult<()> {
    if path.contains('\0') {
        return Err(ValueError::Nul);
    }
    if path.len() > PATH_MAX {
        return Err(ValueError::TooLong { most: PATH_MAX });
    }
    if path.split('/').any(|part| part == "..") {
        return Err(ValueError::Climbs);
    }
    Ok(())
}

/// In records, a path that is not there is empty text.
pub(crate) mod or_empty {
    use super::AbsPath;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(path: &Option<AbsPath>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map_or("", AbsPath::as_str).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<AbsPath>, D::Error> {
        let text = String::deserialize(deserializer)?;
        (!text.is_empty()).then(|| AbsPath::new(text)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_a_root_and_stay_below_it() {
        for path in ["/", "/a..b/c", "//a/./b/"] {
            assert_eq!(AbsPath::new(path).unwrap().as_str(), path);
        }
        let long = format!("/{}", "a".repeat(PATH_MAX));
        for (path, error) in [
            ("", ValueError::Relative),
            ("a", ValueError::Relative),
            ("/a/../b", ValueError::Climbs),
            ("/..", ValueError::Climbs),
            ("/a\0b", ValueError::Nul),
            (long.as_str(), ValueError::TooLong { most: PATH_MAX }),
        ] {
            assert_eq!(AbsPath::new(path), Err(error), "{path:?}");
        }
    }
}
