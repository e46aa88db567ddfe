//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: Arc<Path>,
    /// The line, counted from 1.
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file or the drop-in directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        reason: String,
    },
    /// The file is another runtime's.
    #[error(
        "{place}: this looks like {whose}: Corten has settings of its own, see `corten config default` and the README"
    )]
    Foreign {
        /// Where that shows.
        place: Place,
        /// Whose file it seems to be.
        whose: &'static str,
    },
    /// A key that no setting has.
    #[error("{place}: unknown key `{key}`{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key with its section.
        key: String,
        /// The valid key of the same section that looks most alike.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or a word that the setting does not know.
    #[error("{place}: `{key}`: {reason}{}", hint(nearest.as_deref()))]
    Value {
        /// Where.
        place: Place,
        /// The key with its section.
        key: String,
        /// What is wrong.
        reason: String,
        /// The valid word that looks most alike.
        nearest: Option<String>,
    },
    /// A value out of its range, or at odds with another one.
    #[error("{}`{key}`: {reason}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Invalid {
        /// Where; `None` when the setting is in no file, so that a default clashes with another setting.
        place: Option<Place>,
        /// The key with its section.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

/// Less alike than this, a candidate is no guess but a riddle.
const ALIKE: f64 = 0.4;

/// The candidate that looks most like the word, if one does.
pub(super) fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let distance = |candidate: &&&str| {
        // The scaled similarity, because floating-point numbers have no order.
        let similarity = strsim::normalized_damerau_levenshtein(word, candidate);
        std::cmp::Reverse((similarity * 1e6).round().to_bits())
    };
    let best = candidates.iter().min_by_key(distance).copied()?;
    (strsim::normalized_damerau_levenshtein(word, best) >= ALIKE).then_some(best)
}
