//! The config document of an image.

use super::{ManifestError, Platform};
use crate::digest::Digest;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// How an image wants to be run (the config's `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RunConfig {
    /// `user[:group]`, by name or number; empty: root.
    #[serde(rename = "User", default, deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=value`.
    #[serde(rename = "Env", default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The command, before the arguments.
    #[serde(rename = "Entrypoint", default, deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The arguments, or the command where there is no entrypoint.
    #[serde(rename = "Cmd", default, deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Empty: `/`.
    #[serde(rename = "WorkingDir", default, deserialize_with = "or_default")]
    pub working_dir: String,
    /// Absolute paths that want a volume.
    #[serde(rename = "Volumes", default, deserialize_with = "keys")]
    pub volumes: Vec<String>,
    /// Informational, never control input.
    #[serde(rename = "Labels", default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// A name (`SIGQUIT`) or number.
    #[serde(rename = "StopSignal", default)]
    pub stop_signal: Option<String>,
}

/// What the config tells of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDescription {
    /// How it is run.
    pub run: RunConfig,
    /// `amd64` and the like.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// When it was made, as the builder wrote it (RFC 3339); may be empty.
    pub created: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    config: Option<RunConfig>,
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    created: String,
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// The description and the diff ids, lowest layer first.
pub(crate) fn parse(bytes: &[u8]) -> Result<(ImageDescription, Vec<Digest>), ManifestError> {
    let raw: Raw =
        serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { what: "the config", source })?;
    let rootfs = raw.rootfs.ok_or(ManifestError::Missing { what: "the config", field: "rootfs" })?;
    let host = Platform::host();
    // What it does not say is taken for this machine's.
    let image = Platform { os: raw.os.clone(), architecture: raw.architecture.clone(), variant: raw.variant };
    if host.fits(&image).is_none() {
        return Err(ManifestError::NoPlatform { wanted: host.wanted(), available: vec![image.text()] });
    }
    let description = ImageDescription {
        run: raw.config.unwrap_or_default(),
        architecture: raw.architecture,
        os: raw.os,
        created: raw.created,
    };
    Ok((description, rootfs.diff_ids))
}

/// `null` is how Go writes an empty list.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Go writes a set as an object.
fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let set = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(from)?;
    Ok(set.unwrap_or_default().into_keys().collect())
}
