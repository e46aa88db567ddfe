//! Failures: those that plugins report, and those of reading configurations and results.

use model::ErrorKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A plugin's failure as the specification shapes it, printed by plugins on their standard output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CniError {
    /// The version of the configuration that was being carried out; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cni_version: String,
    /// What kind of failure; codes of 100 and more are the plugin's own.
    pub code: u32,
    /// One sentence.
    pub msg: String,
    /// More for people; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// The first code that the specification leaves to plugins.
const OWN_CODES: u32 = 100;

impl CniError {
    /// The plugin does not speak the configuration's version.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration that the plugin does not know; the message names it.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or gone: the caller need not clean it up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` variable is missing or malformed.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading the configuration or writing the result failed.
    pub const IO_FAILURE: u32 = 5;
    /// The configuration or the previous result is not the JSON that it should be.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is well formed, and wrong.
    pub const INVALID_CONFIG: u32 = 7;
    /// The network namespace is not one.
    pub const INVALID_NETNS: u32 = 8;
    /// A passing condition: the caller should try again later.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: the plugin cannot serve an ADD.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: as [`Self::NOT_AVAILABLE`], and existing containers may have lost connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// Any other failure, by libcni's convention.
    pub const INTERNAL: u32 = 999;

    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { cni_version: String::new(), code, msg: msg.into(), details: String::new() }
    }

    /// The same error with details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The same error, stamped with the configuration's version, as plugins print it.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.cni_version = version.into();
        self
    }

    /// The kind of this failure for callers that do not speak CNI.
    pub fn kind(&self) -> ErrorKind {
        match self.code {
            Self::UNKNOWN_CONTAINER => ErrorKind::NotFound,
            Self::TRY_AGAIN_LATER | Self::NOT_AVAILABLE | Self::LIMITED_CONNECTIVITY => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Internal,
        }
    }
}

impl From<failpoint::Injected> for CniError {
    fn from(injected: failpoint::Injected) -> Self {
        Self::new(Self::INTERNAL, sys::SysError::from(injected).to_string())
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.msg.as_str(), self.details.as_str()];
        let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        f.write_str(&said.join("; "))?;
        match self.code {
            Self::TRY_AGAIN_LATER => f.write_str(" (it may work later)"),
            // What a plugin's own codes mean, its documentation says.
            OWN_CODES..Self::INTERNAL => write!(f, " (the plugin's code {})", self.code),
            _ if said.is_empty() => write!(f, "no message, CNI error code {}", self.code),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for CniError {}

/// A configuration or result that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// Not JSON, or not of the right shape.
    #[error("decode {what}: {source}")]
    Json {
        /// What was being read.
        what: &'static str,
        /// Where and why it failed.
        source: serde_json::Error,
    },
    /// A version that this crate does not speak.
    #[error("unsupported cniVersion {version:?} (supported: 0.1.0 to 1.1.0)")]
    Version {
        /// The version found.
        version: String,
    },
    /// A network name outside the specification's alphabet.
    #[error(
        "invalid network name {name:?}: letters, digits, '_', '.' and '-' only, the first a letter or digit"
    )]
    Name {
        /// The name found.
        name: String,
    },
    /// A plugin type that could name a file outside the plugin directories.
    #[error("invalid plugin type {plugin:?} in {field}: it must be a plain file name")]
    PluginType {
        /// The field that holds it.
        field: &'static str,
        /// The type found.
        plugin: String,
    },
    /// A field that is missing, or of the wrong type or value.
    #[error("field {field}: {problem}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A configuration that names no plugin.
    #[error("no plugins in the network configuration")]
    NoPlugins,
    /// A result that the older version cannot express.
    #[error("convert result to {version}: no address, which this version requires")]
    Conversion {
        /// The version aimed at.
        version: super::Version,
    },
    /// An address that names an interface which the result does not list.
    #[error("result: address {address} names interface {index}, but the result lists {count}")]
    InterfaceIndex {
        /// The address.
        address: ipnet::IpNet,
        /// The index it names.
        index: u32,
        /// How many interfaces there are.
        count: usize,
    },
}

impl TypesError {
    /// The kind of this failure for callers that do not speak CNI.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Conversion { .. } | Self::InterfaceIndex { .. } => ErrorKind::Internal,
            Self::Json { .. }
            | Self::Version { .. }
            | Self::Name { .. }
            | Self::PluginType { .. }
            | Self::Field { .. }
            | Self::NoPlugins => ErrorKind::InvalidArgument,
        }
    }
}

impl From<TypesError> for CniError {
    fn from(error: TypesError) -> Self {
        let code = match error {
            TypesError::Version { .. } => Self::INCOMPATIBLE_VERSION,
            TypesError::Json { .. } | TypesError::InterfaceIndex { .. } => Self::DECODING_FAILURE,
            TypesError::Name { .. }
            | TypesError::PluginType { .. }
            | TypesError::Field { .. }
            | TypesError::NoPlugins => Self::INVALID_CONFIG,
            TypesError::Conversion { .. } => Self::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}
