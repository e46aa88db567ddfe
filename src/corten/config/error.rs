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
        "{place}: this looks like {whose}: Corten has settings of its own, see `corten config default` and {guide}"
    )]
    Foreign {
        /// Where that shows.
        place: Place,
        /// Whose file it seems to be.
        whose: &'static str,
        /// Where it is said what becomes of its settings.
        guide: &'static str,
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

/// Everything that is wrong with the files.
#[derive(Debug)]
pub(crate) struct Mistakes(pub(super) Vec<ConfigError>);

impl Mistakes {
    /// A line for each. What they quote may be an address with a password.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|mistake| image::without_users(&crate::error::chain(mistake))).collect()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl std::error::Error for Mistakes {}

impl ConfigError {
    /// Where it is, as far as that is in a file.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Syntax { place, .. }
            | Self::Foreign { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Value { place, .. } => Some(place),
            Self::Invalid { place, .. } => place.as_ref(),
            Self::Read { .. } => None,
        }
    }

    /// The setting that it is about.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::Value { key, .. } | Self::Invalid { key, .. } => Some(key),
            Self::Read { .. } | Self::Syntax { .. } | Self::Foreign { .. } => None,
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

/// The candidate that looks most like the word: with one slip in three letters, or with words left out (`limit` for
/// `pids_limit`) where only one has them. Anything further off would be a riddle.
pub(crate) fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    // What another runtime has the other way round.
    if word == "disable"
        && let Some(opposite) = candidates.iter().copied().find(|candidate| *candidate == "enable")
    {
        return Some(opposite);
    }
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let best = candidates.iter().copied().min_by_key(|candidate| distance(candidate))?;
    if distance(best) <= word.chars().count().max(3) / 3 {
        return Some(best);
    }
    let mut longer = candidates.iter().copied().filter(|candidate| has_words(candidate, word));
    let first = longer.next()?;
    longer.next().is_none().then_some(first)
}

/// Whether a name of words has these in a row.
fn has_words(name: &str, words: &str) -> bool {
    !words.is_empty() && format!("_{name}_").contains(&format!("_{words}_"))
}
