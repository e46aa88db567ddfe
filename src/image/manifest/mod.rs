//! The documents of an image: index, manifest and config, of OCI and of Docker (schema 2).

mod config;
mod platform;

#[cfg(test)]
mod tests;

pub(crate) use config::parse as parse_config;
pub use config::{ImageDescription, RunConfig};
pub(crate) use platform::{Platform, passed_over, select};

use crate::digest::Digest;
use model::ErrorKind;
use serde::Deserialize;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer that is not compressed.
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The Accept header for manifests.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The types of configs. Old Docker builders and registries left it open, or wrote what their server said of it: then
/// the bytes have to be a config's.
const CONFIGS: [&str; 6] =
    [OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "application/json", "text/html", ""];

/// The most layers of an image: the kernel stacks no more (`OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;

/// Why a document is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON that it should be.
    #[error("{what} is malformed: {source}")]
    Json {
        /// Which document.
        what: &'static str,
        /// The parser's answer.
        source: serde_json::Error,
    },
    /// Docker's first format.
    #[error(
        "it is a Docker schema 1 manifest, which is obsolete and not supported: push it again as schema 2"
    )]
    Schema1,
    /// Neither index nor manifest.
    #[error("media type {0:?} is neither an image index nor an image manifest")]
    MediaType(String),
    /// The document says one thing and the server another.
    #[error("it was announced as {announced:?} but says {inside:?} itself")]
    Ambiguous {
        /// The server's or the index's word.
        announced: String,
        /// The document's own.
        inside: String,
    },
    /// Both `layers` and `manifests`: two readers would see two images (CVE-2021-41190).
    #[error("a document with both layers and manifests is refused")]
    Both,
    /// A field that must be there.
    #[error("{what} has no {field}")]
    Missing {
        /// Which document.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// An index in an index in an index.
    #[error("the index is nested more than once")]
    Nested,
    /// Nothing for this machine.
    #[error("no image for {wanted}: {}", there_is(available))]
    NoPlatform {
        /// This machine.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// There is a better one.
    #[error("another one in the same index suits this machine better")]
    Beaten,
    /// The config is no container image's.
    #[error("its config has media type {0:?}: it is not a container image")]
    NotAnImage(String),
    /// Something in the place of a layer that is none.
    #[error("layer {digest} has media type {media_type:?}, and its content is no tar archive")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
    /// Manifest and config disagree.
    #[error("the manifest has {}, but the config has {}", model::counted(*layers, "layer"), model::counted(*diff_ids, "diff id"))]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// None, or more than the kernel can stack.
    #[error("it has {}: between 1 and 500 can be mounted", model::counted(*.0, "layer"))]
    Layers(usize),
}

fn there_is(available: &[String]) -> String {
    // They are of an image.
    let available: Vec<String> = available.iter().map(|one| one.escape_debug().to_string()).collect();
    match available.as_slice() {
        [] => "there is none for any platform".to_owned(),
        [one] => format!("there is one for {one} only"),
        several => format!("there are some for {} only", several.join(", ")),
    }
}

impl ManifestError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPlatform { .. } => ErrorKind::NotFound,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// What a document refers to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub urls: Option<Vec<String>>,
    #[serde(default)]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Whether it is called a layer, or nothing at all. What it is, and how it is compressed, its bytes tell; one that
    /// nobody may distribute comes from the registry, or not at all.
    pub(crate) fn says_layer(&self) -> bool {
        let types = [
            ("application/vnd.oci.image.layer.v1.tar", '+'),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", '+'),
            ("application/vnd.docker.image.rootfs.diff.tar", '.'),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar", '.'),
        ];
        self.media_type.is_empty()
            || types.iter().any(|(plain, mark)| {
                self.media_type.strip_prefix(plain).is_some_and(|rest| {
                    let how = rest.strip_prefix(*mark);
                    rest.is_empty() || how.is_some_and(|how| matches!(how, "gzip" | "zstd"))
                })
            })
    }

    /// That it is neither called a layer nor one.
    pub(crate) fn no_layer(&self) -> ManifestError {
        ManifestError::LayerType { digest: self.digest.clone(), media_type: shown(&self.media_type) }
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What a file is, by its first bytes.
    pub(crate) fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // zstd:chunked may begin with a frame that decoders skip.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What a document is.
#[derive(Debug)]
pub(crate) enum Parsed {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

/// An image manifest with as many layers as can be mounted.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u32>,
    #[serde(rename = "mediaType", default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<serde_json::Value>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

fn kind_of(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_INDEX | DOCKER_INDEX => Some(Kind::Index),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Kind::Manifest),
        _ => None,
    }
}

/// Parses a document that the server announced with this media type (empty when it named none).
pub(crate) fn parse(bytes: &[u8], announced: &str) -> Result<Parsed, ManifestError> {
    if announced.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(ManifestError::Schema1);
    }
    let raw: Raw = serde_json::from_slice(bytes)
        .map_err(|source| ManifestError::Json { what: "the manifest", source })?;
    if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
        return Err(ManifestError::Schema1);
    }
    if raw.layers.is_some() && raw.manifests.is_some() {
        return Err(ManifestError::Both);
    }
    let inside = raw.media_type.unwrap_or_default();
    let kind = match (kind_of(announced), kind_of(&inside)) {
        (Some(_), Some(_)) if announced != inside => {
            return Err(ManifestError::Ambiguous { announced: announced.to_owned(), inside });
        }
        (Some(kind), _) if inside.is_empty() => kind,
        (_, Some(kind)) => kind,
        (Some(_), None) => return Err(ManifestError::MediaType(shown(&inside))),
        // A server that knows no media types: an OCI document need not name its own.
        (None, None) if inside.is_empty() && raw.manifests.is_some() => Kind::Index,
        (None, None) if inside.is_empty() && raw.layers.is_some() => Kind::Manifest,
        (None, None) => {
            let named = if inside.is_empty() { announced } else { &inside };
            return Err(ManifestError::MediaType(shown(named)));
        }
    };
    match kind {
        Kind::Index => {
            let missing = ManifestError::Missing { what: "the index", field: "manifests" };
            entries(raw.manifests.ok_or(missing)?).map(Parsed::Index)
        }
        Kind::Manifest => {
            let missing = |field| ManifestError::Missing { what: "the manifest", field };
            let config = raw.config.ok_or_else(|| missing("config"))?;
            let layers = raw.layers.ok_or_else(|| missing("layers"))?;
            manifest(config, layers).map(Parsed::Manifest)
        }
    }
}

/// What of an index can be read. Whatever else is in one (digests of other kinds, what comes after this version) is for
/// others; where nothing can be read, that is told.
fn entries(values: Vec<serde_json::Value>) -> Result<Vec<Descriptor>, ManifestError> {
    let (mut entries, mut first) = (Vec::with_capacity(values.len()), None);
    for value in values {
        match serde_json::from_value(value) {
            Ok(entry) => entries.push(entry),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match first {
        Some(source) if entries.is_empty() => {
            Err(ManifestError::Json { what: "every entry of the index", source })
        }
        _ => Ok(entries),
    }
}

/// Whether something with this type in an index may be an image, or an index of some.
fn may_be_image(media_type: &str) -> bool {
    media_type.is_empty() || kind_of(media_type).is_some()
}

fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, ManifestError> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(ManifestError::NotAnImage(shown(&config.media_type)));
    }
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(ManifestError::Layers(layers.len()));
    }
    Ok(Manifest { config, layers })
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
