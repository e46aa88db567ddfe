//! What daemon and command line say to each other.

use image::{Adoption, Credentials, Digest, Image, PullProgress, VerifiedImage};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An image, with its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageView {
    pub(crate) id: String,
    pub(crate) tags: Vec<String>,
    pub(crate) digests: Vec<String>,
    /// Compressed bytes.
    pub(crate) size: u64,
    pub(crate) pinned: bool,
    pub(crate) architecture: String,
    pub(crate) created: String,
    /// Directories of the layers, top first.
    pub(crate) layers: Vec<PathBuf>,
    /// The config document.
    pub(crate) config: serde_json::Value,
}

impl From<&Image> for ImageView {
    fn from(image: &Image) -> Self {
        Self {
            id: image.id.clone(),
            tags: image.repo_tags.clone(),
            digests: image.repo_digests.clone(),
            size: image.size,
            pinned: image.pinned,
            architecture: image.architecture.clone(),
            created: image.created.clone(),
            layers: image.rootfs.directories().to_vec(),
            // It was parsed before it was recorded.
            config: serde_json::from_str(&image.config_json).unwrap_or_default(),
        }
    }
}

/// Who pulls. Without a Debug form, so that nothing of it is ever printed.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) auth: String,
    pub(crate) identity_token: String,
    pub(crate) registry_token: String,
}

impl From<Secrets> for Credentials {
    fn from(secrets: Secrets) -> Self {
        Self {
            username: secrets.username,
            password: secrets.password,
            auth: secrets.auth,
            server_address: String::new(),
            identity_token: secrets.identity_token,
            registry_token: secrets.registry_token,
        }
    }
}

/// What to pull, or to explain.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PullRequest {
    pub(crate) reference: String,
    pub(crate) secrets: Option<Secrets>,
}

/// A line of the answer to a pull.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PullEvent {
    /// It goes on.
    Progress(PullProgress),
    /// It is done: the image's id.
    Done(String),
    /// It failed.
    Failed(Failure),
}

/// Which images to hold against what was pulled; all where there are none.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct VerifyRequest {
    pub(crate) images: Vec<PullRequest>,
    /// Fetch again what is damaged.
    pub(crate) repair: bool,
}

/// A line of the answer to a verification.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerifyEvent {
    /// An image was looked at.
    Image(VerifiedImage),
    /// All were.
    Done,
    /// It cannot go on.
    Failed(Failure),
}

/// An image of another runtime, to be taken over from where that one keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AdoptRequest {
    /// The directory with `blobs/sha256`.
    pub(crate) content: PathBuf,
    pub(crate) names: Vec<String>,
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) pinned: bool,
    /// Fetch what is missing there.
    pub(crate) pull: bool,
    pub(crate) secrets: Option<Secrets>,
}

impl From<AdoptRequest> for Adoption {
    fn from(request: AdoptRequest) -> Self {
        Self {
            content: request.content,
            names: request.names,
            digest: request.digest,
            media_type: request.media_type,
            pinned: request.pinned,
            pull: request.pull.then(|| request.secrets.map(Into::into)),
        }
    }
}

/// Which images to remove, by id, tag or digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RemoveRequest {
    pub(crate) images: Vec<String>,
}

/// What became of something that was asked for by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sought {
    pub(crate) name: String,
    /// Whether it was there.
    pub(crate) found: bool,
    /// All the names that went with it.
    #[serde(default)]
    pub(crate) names: Vec<String>,
}

/// The header that names the image of an archive.
pub(crate) const NAME_HEADER: &str = "corten-name";

/// The header that says how many layers of an archive are made again.
pub(crate) const REMADE_HEADER: &str = "corten-remade";

/// What follows an archive: nothing, or why it is not whole.
pub(crate) const RESULT_TRAILER: &str = "corten-result";

/// Why not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) error: String,
}
