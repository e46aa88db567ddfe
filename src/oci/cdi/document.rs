//! The files of the Container Device Interface, as its specification (up to version 1.1.0) has them.

use serde::Deserialize;
use std::collections::HashSet;

const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    cdi_version: String,
    /// `vendor/class`.
    pub(super) kind: String,
    /// Informational.
    #[serde(default, rename = "annotations")]
    _annotations: serde::de::IgnoredAny,
    pub(super) devices: Vec<Device>,
    /// For every container with one of the devices.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, rename = "annotations")]
    _annotations: serde::de::IgnoredAny,
    pub(super) container_edits: Edits,
}

/// What a device needs in a container.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Edits {
    /// `NAME=value`.
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<Node>,
    pub(super) mounts: Vec<Mount>,
    pub(super) hooks: Vec<Hook>,
    #[serde(rename = "additionalGids", alias = "additionalGIDs")]
    pub(super) additional_gids: Vec<u32>,
    pub(super) intel_rdt: Option<serde::de::IgnoredAny>,
    pub(super) net_devices: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Node {
    pub(super) path: String,
    /// Empty: as `path`.
    pub(super) host_path: String,
    /// `b`, `c`, `u` or `p`; empty: what the host has.
    pub(super) r#type: String,
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) file_mode: Option<u32>,
    /// Some of `r`, `w` and `m`; empty: all.
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    /// Empty: a bind.
    #[serde(default)]
    pub(super) r#type: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Hook {
    /// The point of a container's life, as the runtime spec calls it.
    pub(super) hook_name: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) timeout: Option<i64>,
}

/// Reads YAML, of which JSON is a part; the text is why it is no document.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let document: Document = crate::yaml::parse(text)?;
    if !VERSIONS.contains(&document.cdi_version.as_str()) {
        return Err(format!("cdiVersion {:?} is not known", document.cdi_version));
    }
    if !model::cdi::is_kind(&document.kind) {
        return Err(format!("kind {:?} is not of the form vendor/class", document.kind));
    }
    let mut names = HashSet::new();
    for device in &document.devices {
        if !model::cdi::is_device(&device.name) {
            return Err(format!("{:?} is no name of a device", device.name));
        }
        if !names.insert(device.name.as_str()) {
            return Err(format!("device {:?} is there twice", device.name));
        }
    }
    Ok(document)
}
