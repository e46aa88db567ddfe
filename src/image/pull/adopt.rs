//! Images from the content of another runtime instead of a registry.

use super::archive::{self, Blobs as _, Found};
use super::content::Content;
use super::documents::Documents;
use super::source::Source;
use super::{Names, Puller};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::policy;
use crate::reference::Reference;
use crate::registry::{Credentials, Login, Session};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// An image of another runtime.
pub struct Adoption {
    /// Where its content lies, in `blobs/sha256`.
    pub content: PathBuf,
    /// What it is called there: with tags, with digests.
    pub names: Vec<String>,
    /// The index or manifest that these names mean.
    pub digest: Digest,
    /// What that is.
    pub media_type: String,
    /// Whether the runtime keeps it from garbage collection.
    pub pinned: bool,
    /// Fetches what is missing or spoilt, with these credentials.
    pub pull: Option<Option<Credentials>>,
}

/// What became of an adoption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The image's id.
    pub id: String,
    /// The names that it has now of those that it had.
    pub names: Vec<String>,
    /// Names that mean another image here already, which keeps them.
    pub taken: Vec<String>,
    /// Whether all of it was here before.
    pub known: bool,
    /// Whether a registry was asked.
    pub fetched: bool,
    /// Why it is not for this machine; then it was left.
    #[serde(default)]
    pub skipped: Option<String>,
}

impl Adopted {
    fn new(id: String, names: &[Reference], taken: Vec<String>) -> Self {
        let names = names.iter().map(ToString::to_string).collect();
        Self { id, names, taken, known: false, fetched: false, skipped: None }
    }
}

impl Puller {
    /// Brings the image into the store.
    pub(crate) async fn adopt(self: &Arc<Self>, adoption: Adoption) -> Result<Adopted, ImageError> {
        let mut names = Vec::with_capacity(adoption.names.len());
        for name in &adoption.names {
            let parsed = Reference::parse(name);
            names.push(parsed.map_err(|source| ImageError::Reference { reference: name.clone(), source })?);
        }
        let taken = self.taken(&names, &adoption.digest);
        for name in names.iter_mut().filter(|name| taken.contains(&name.to_string())) {
            let by_digest = Reference::parse(&name.with_digest(&adoption.digest));
            *name =
                by_digest.map_err(|source| ImageError::Reference { reference: name.to_string(), source })?;
        }
        let shown = adoption.names.first().cloned().unwrap_or_else(|| adoption.digest.to_string());
        if let Some(id) = self.known(&names, &adoption.digest) {
            return Ok(Adopted { known: true, ..Adopted::new(id, &names, taken) });
        }
        let content = Content::new(adoption.content.clone());
        let found = match find(&content, &adoption, names.clone()).await {
            Ok(found) => found,
            Err(error) if is_curable(&error) && adoption.pull.is_some() => {
                return self.pull_instead(&adoption, names, taken).await;
            }
            Err(error) if archive::is_other(&error) => {
                let skipped = Some(archive::reason(&error));
                return Ok(Adopted { skipped, ..Adopted::new(String::new(), &[], Vec::new()) });
            }
            Err(error) => return Err(named(error, &shown)),
        };
        let fetched = content.clone();
        let result = self.take_over(found, content, &adoption).await;
        self.clean_up(result.as_ref().err());
        Ok(Adopted { fetched: fetched.has_fetched(), ..Adopted::new(result?, &names, taken) })
    }

    /// Names with tags that mean another image here: it came later.
    fn taken(&self, names: &[Reference], digest: &Digest) -> Vec<String> {
        let index = self.store.index();
        let means_another = |name: &&Reference| {
            let here = index.find(&name.to_string()).ok().flatten();
            here.is_some_and(|image| !image.repo_digests.contains(&name.with_digest(digest)))
        };
        names.iter().filter(|name| is_tag(name)).filter(means_another).map(ToString::to_string).collect()
    }

    /// The image where it is here whole, under all of these names.
    fn known(&self, names: &[Reference], digest: &Digest) -> Option<String> {
        let image = self.store.index().find(&names.first()?.with_digest(digest)).ok()??;
        let has = |name: &Reference| {
            image.repo_digests.contains(&name.with_digest(digest))
                && (!is_tag(name) || image.repo_tags.contains(&name.to_string()))
        };
        (names.iter().all(has) && self.store.is_whole(&image.id)).then(|| image.id.clone())
    }

    /// Layer by layer; blobs that turn out to be something else are left out where a registry may be asked for them.
    async fn take_over(
        self: &Arc<Self>,
        found: Found,
        mut content: Content,
        adoption: &Adoption,
    ) -> Result<String, ImageError> {
        let digests = |digest: &Option<Digest>| {
            let names = found.names.iter();
            names.filter_map(|name| Some(name.with_digest(digest.as_ref()?))).collect::<Vec<_>>()
        };
        let tags: Vec<String> =
            found.names.iter().filter(|name| is_tag(name)).map(ToString::to_string).collect();
        let (digests, aliases) = (digests(&found.top), digests(&found.manifest));
        let documents = Documents {
            id: found.config,
            layers: found.layers,
            diff_ids: found.diff_ids,
            config_json: found.config_json,
            kept: found.kept,
        };
        let shown = tags.first().or(digests.first()).cloned().unwrap_or_else(|| documents.id.to_string());
        loop {
            let session = match (&adoption.pull, found.names.first()) {
                (Some(credentials), Some(name)) if self.lacks(&documents, &content) => {
                    Some(self.session(name, credentials.as_ref()).await?)
                }
                _ => None,
            };
            let source = Arc::new(Source::Content(content.clone(), session));
            let names = Names {
                tags: tags.clone(),
                digests: digests.clone(),
                aliases: aliases.clone(),
                pinned: adoption.pinned,
            };
            let state = self.progress.begin(&shown);
            match self.bring(&source, &shown, names, &documents, &state).await {
                Ok(id) => {
                    tracing::info!(id, name = shown, "image adopted");
                    return Ok(id);
                }
                Err(error) => match spoilt(&error) {
                    Some(digest) if adoption.pull.is_some() && content.distrust(digest) => {
                        tracing::warn!(layer = %digest, %error, "adopted content is wrong, asking the registry");
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Whether a layer is neither here nor there.
    fn lacks(&self, documents: &Documents, content: &Content) -> bool {
        let mut layers = documents.layers.iter().zip(&documents.diff_ids);
        layers.any(|(layer, diff_id)| !content.has(&layer.digest) && !self.store.is_there(diff_id))
    }

    async fn session(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Session, ImageError> {
        let config = self.store.config();
        policy::check(&config, reference)
            .map_err(|source| ImageError::Policy { reference: reference.to_string(), source })?;
        let certs_dirs = config.certs_dir.clone();
        drop(config);
        let login = credentials.map(Login::new).transpose()?.flatten();
        let hosts = self.files.hosts(&certs_dirs, reference).await?;
        Ok(Session::new(reference, hosts, login.as_ref(), &self.transport.load())?)
    }

    /// Where not even the documents are there.
    async fn pull_instead(
        self: &Arc<Self>,
        adoption: &Adoption,
        names: Vec<Reference>,
        taken: Vec<String>,
    ) -> Result<Adopted, ImageError> {
        let mut id = String::new();
        for name in &names {
            let credentials = adoption.pull.as_ref().and_then(Option::as_ref);
            let login = credentials.map(Login::new).transpose()?.flatten();
            id = self.pull(name.clone(), login).await?;
        }
        Ok(Adopted { fetched: true, ..Adopted::new(id, &names, taken) })
    }
}

/// What the content has of the image, but for its layers.
async fn find(content: &Content, adoption: &Adoption, names: Vec<Reference>) -> Result<Found, ImageError> {
    let content = content.clone();
    let top = Descriptor {
        media_type: adoption.media_type.clone(),
        digest: adoption.digest.clone(),
        size: 0,
        urls: None,
        platform: None,
    };
    let found = tokio::task::spawn_blocking(move || archive::image(&content, top, names));
    found.await.unwrap_or(Err(ImageError::Interrupted { operation: "reading the content" }))
}

fn is_tag(name: &Reference) -> bool {
    name.tag().is_some() && name.digest().is_none()
}

/// Whether a registry may have what is missing here.
fn is_curable(error: &ImageError) -> bool {
    matches!(error, ImageError::NotKept { .. } | ImageError::Spoilt { .. })
}

/// The layer that is not what its digest says.
fn spoilt(error: &ImageError) -> Option<&Digest> {
    match error {
        ImageError::Joined(error) => spoilt(error),
        ImageError::Layer { digest, source, .. } if source.is_wrong_content() => Some(digest),
        _ => None,
    }
}

/// A failure of this image, by its name.
fn named(error: ImageError, name: &str) -> ImageError {
    match error {
        ImageError::Manifest { source, .. } => ImageError::Manifest { reference: name.to_owned(), source },
        other => other,
    }
}
