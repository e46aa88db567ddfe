//! The versions of the CNI specification, in order.

use crate::types::TypesError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A version of the CNI specification that this crate speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// 0.1.0: one address a family, routes below it.
    V0_1_0,
    /// 0.2.0: as 0.1.0, with the VERSION command.
    V0_2_0,
    /// 0.3.0: lists of plugins, interfaces and addresses.
    V0_3_0,
    /// 0.3.1: as 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK, and DEL with the previous result.
    V0_4_0,
    /// 1.0.0: addresses lose their `version`.
    V1_0_0,
    /// 1.1.0: STATUS, GC, `mtu` and more in interfaces and routes.
    V1_1_0,
}

impl Version {
    /// The newest version.
    pub const LATEST: Self = Self::V1_1_0;

    /// Every version, oldest first.
    pub const ALL: [Self; 7] =
        [Self::V0_1_0, Self::V0_2_0, Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The version that its text names; the empty text is 0.1.0, as in libcni.
    ///
    /// # Errors
    /// When this crate does not speak that version.
    pub fn parse(text: &str) -> Result<Self, TypesError> {
        if text.is_empty() {
            return Ok(Self::V0_1_0);
        }
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| TypesError::Version { version: text.to_owned() })
    }

    /// The text, such as `1.1.0`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Version {
    type Error = TypesError;

    fn try_from(text: String) -> Result<Self, TypesError> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.as_str().to_owned()
    }
}
