//! The image store as the rest of the daemon sees it.

use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::explain::{self, Explanation};
use crate::metrics::Metrics;
use crate::progress::PullProgress;
use crate::pull::{Adopted, Adoption, Loaded, Puller};
use crate::reference::Reference;
use crate::registry::{Credentials, Login};
use crate::save::Saving;
use crate::store::{self, Image, Store};
use crate::usage::{self, DiskUsage, Pruned};
use crate::verify::{VerifiedImage, Verifier};
use model::{FsUsage, Rootfs};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often what nothing uses is looked for.
const CLEANING_INTERVAL: Duration = Duration::from_secs(600);

/// Images on this node.
pub struct ImageStore {
    store: Arc<Store>,
    puller: Arc<Puller>,
}

impl ImageStore {
    /// Opens the store, makes it consistent, and registers its metrics. Blocks on the disk.
    ///
    /// Layers that no image uses stay until [`Self::sweep`], which is to be called once the containers that
    /// still use some have been found and their images held.
    ///
    /// # Errors
    /// When a directory cannot be made, another process has the store open, or a metric is registered twice.
    /// A damaged database is none: it is put aside.
    pub fn open(config: ImageConfig, registry: &prometheus::Registry) -> Result<Arc<Self>, ImageError> {
        let metrics = Metrics::register(registry)?;
        let store = Arc::new(store::open(config)?);
        let puller = Arc::new(Puller::new(Arc::clone(&store), metrics)?);
        Ok(Arc::new(Self { store, puller }))
    }

    /// Takes over other settings, but for the directory of the images: what is under way goes on under those that it began
    /// with.
    pub fn reconfigure(&self, config: ImageConfig) {
        let root = self.store.config().root.clone();
        let config = Arc::new(ImageConfig { root, ..config });
        self.puller.reconfigure(&config);
        self.store.reconfigure(config);
    }

    /// Pulls the image and returns its id (`sha256:…` of its config). Identical pulls at the same time are
    /// one; a caller that goes away ends nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed reference or image, `NotFound`, `PermissionDenied`, `Unavailable`,
    /// `FailedPrecondition` for content with a wrong digest and for
    /// unusable host configuration, `ResourceExhausted` for a full disk or a layer over the limits.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
    ) -> Result<String, ImageError> {
        let reference = parse(reference)?;
        let login = credentials.as_ref().map(Login::new).transpose()?.flatten();
        self.puller.pull(reference, login).await
    }

    /// What pulls are doing right now.
    pub fn pulls(&self) -> Vec<PullProgress> {
        self.puller.progress()
    }

    /// Every image.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.store.index().list()
    }

    /// The image with this id (with or without `sha256:`), unique prefix of one, tag or digest.
    ///
    /// # Errors
    /// When the text is none of these, or a prefix that several images share.
    pub fn find(&self, text: &str) -> Result<Option<Arc<Image>>, ImageError> {
        self.store.index().find(text)
    }

    /// As [`Self::find`], and nothing for an image that has lost a layer on the disk: the next pull fetches that
    /// layer, and a client that asks so will pull.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn status(&self, text: &str) -> Result<Option<Arc<Image>>, ImageError> {
        Ok(self.find(text)?.filter(|image| self.store.is_whole(&image.id)))
    }

    /// Holds every byte of the images (ids, tags or digests, each with the credentials of its registry; all images
    /// where there are none) against what was pulled, and tells of one after the other. What is damaged is fetched
    /// again where `repair` says so.
    ///
    /// # Errors
    /// When something cannot be checked, and for an image that is not there: those before it have been told.
    pub async fn verify(
        &self,
        images: Vec<(String, Option<Credentials>)>,
        repair: bool,
        mut tell: impl FnMut(VerifiedImage) + Send,
    ) -> Result<(), ImageError> {
        let images = match images.is_empty() {
            true => self.list().iter().map(|image| (image.id.clone(), None)).collect(),
            false => images,
        };
        let mut verifier = Verifier::new(Arc::clone(&self.store));
        for (name, credentials) in images {
            let id = self.find(&name)?.ok_or_else(|| ImageError::NoSuchImage(name.clone()))?.id.clone();
            let login = credentials.as_ref().map(Login::new).transpose()?.flatten();
            let looked = tokio::task::spawn_blocking(move || {
                let found = verifier.image(&id);
                (verifier, found)
            });
            let interrupted = |_| ImageError::Interrupted { operation: "verifying the image" };
            let (back, found) = looked.await.map_err(interrupted)?;
            let mut found = found?;
            verifier = match repair {
                true => back.repair(&mut found, &self.puller, (&name, login)).await?,
                false => back,
            };
            tell(found);
        }
        Ok(())
    }

    /// Removes the image that [`Self::find`] finds, with all its tags; an absent one is no error. It is gone for
    /// clients at once, and the room that it took is free when this returns, unless a container holds the image: then it
    /// is when none does any more. Returns what was removed.
    ///
    /// # Errors
    /// As [`Self::find`], and when the database or the disk fails.
    pub async fn remove(&self, text: &str) -> Result<Option<Arc<Image>>, ImageError> {
        let Some(image) = self.find(text)? else { return Ok(None) };
        let store = Arc::clone(&self.store);
        let removed = tokio::task::spawn_blocking(move || {
            store.hide(&image.id)?;
            tracing::info!(id = image.id, names = image.names().join(" "), "image removed");
            store.sweep(false)?;
            Ok(Some(image))
        });
        removed.await.unwrap_or(Err(ImageError::Interrupted { operation: "removing the image" }))
    }

    /// Keeps the image's layers until the holder (a container's id) releases them, whatever is removed.
    /// Not durable: the holders that survive a restart say so again before [`Self::sweep`].
    ///
    /// # Errors
    /// When there is no image with this id.
    pub fn hold(&self, image_id: &str, holder: &str) -> Result<Arc<Image>, ImageError> {
        self.store.hold(image_id, holder)
    }

    /// Keeps the directories of a root filesystem until the holder releases them, also when no record of them is left
    /// (after a damaged database): for containers found running at a start.
    pub fn hold_rootfs(&self, holder: &str, rootfs: &Rootfs) {
        self.store.hold_rootfs(holder, rootfs);
    }

    /// Lets go of everything that the holder holds; unknown holders are no error. Where nothing else used the image, and
    /// it is removed, its room is being given back: the task ends when that is done.
    pub fn release(&self, holder: &str) -> Option<JoinHandle<()>> {
        if self.store.release(holder) { self.sweep_in_background() } else { None }
    }

    /// Removes layers and blobs that no image and no holder uses. Blocks on the disk.
    ///
    /// # Errors
    /// The first failure; everything else is removed all the same.
    pub fn sweep(&self) -> Result<(), ImageError> {
        self.store.sweep(false)
    }

    /// Brings the images of an archive into the store: an OCI image layout or what `docker save` writes, as a tar
    /// file, compressed or not; what of it does not run here is told. `name` is given to the image of an archive that
    /// holds one.
    ///
    /// # Errors
    /// `InvalidArgument` for an archive or a name that cannot be used, `FailedPrecondition` for content with a
    /// wrong digest, `ResourceExhausted` for a full disk or an archive over the limits.
    pub async fn load(
        &self,
        input: Box<dyn std::io::Read + Send>,
        name: Option<&str>,
    ) -> Result<Loaded, ImageError> {
        let name = name.map(parse).transpose()?;
        let loaded = self.puller.load(input, name).await;
        loaded.map_err(|error| error.below(&self.store.config().root))
    }

    /// Brings an image into the store from the content that another runtime has kept, every byte of it held against its
    /// digests. What is missing or spoilt comes from the registry where the adoption says so.
    ///
    /// # Errors
    /// `NotFound` for content that is not there, `FailedPrecondition` for content with a wrong digest, `InvalidArgument` for
    /// what is no image for this machine, and as [`Self::pull`] where the registry is asked.
    pub async fn adopt(&self, adoption: Adoption) -> Result<Adopted, ImageError> {
        let adopted = self.puller.adopt(adoption).await;
        adopted.map_err(|error| error.below(&self.store.config().root))
    }

    /// Prepares an archive of the images, by id, tag or digest: an OCI image layout, and at the same time what
    /// `docker save` writes. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` for a layer that was not kept compressed and cannot be made again.
    pub fn save(&self, images: &[String]) -> Result<Saving, ImageError> {
        Saving::new(&self.store, images)
    }

    /// How a reference would be pulled with these credentials, without asking anybody.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed reference or malformed credentials, `FailedPrecondition` for an
    /// unusable `hosts.toml`.
    pub async fn explain(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Explanation, ImageError> {
        let reference = parse(reference)?;
        let login = credentials.map(Login::new).transpose()?.flatten();
        let certs_dir = self.store.config().certs_dir.clone();
        let found = self.puller.files.hosts_with_source(&certs_dir, &reference).await?;
        Ok(explain::explain(&self.store, &reference, login.as_ref(), found))
    }

    /// What images take, image by image.
    pub fn disk_usage(&self) -> DiskUsage {
        usage::disk_usage(&self.store)
    }

    /// Removes images that nobody uses and that are not pinned (those without a tag, or all), and everything
    /// that no image names. Blocks on the disk.
    ///
    /// # Errors
    /// The first failure.
    pub fn prune(&self, all: bool) -> Result<Pruned, ImageError> {
        usage::prune(&self.store, all)
    }

    /// Bytes and inodes that images use, with everything that belongs to them: layers as they were counted when they
    /// were unpacked, the rest as it is. No layer is walked.
    pub fn fs_usage(&self) -> FsUsage {
        self.store.fs_usage()
    }

    /// Removes what nothing uses from time to time, for as long as the store is there.
    pub async fn keep_clean(store: Weak<Self>) {
        // What was there already counts from the start on, not from the first change on.
        if let Some(store) = store.upgrade() {
            let (store, metrics) = (Arc::clone(&store.store), store.puller.metrics().clone());
            tokio::task::spawn_blocking(move || store.measure(&metrics));
        }
        loop {
            tokio::time::sleep(CLEANING_INTERVAL).await;
            let Some(store) = store.upgrade() else { return };
            drop(store.sweep_in_background());
        }
    }

    /// Has something else than the C library know the addresses of hosts.
    #[cfg(test)]
    pub(crate) fn look_up_with(&self, lookup: Box<crate::registry::Lookup>) {
        assert!(self.puller.look_up_with(lookup).is_ok());
    }

    /// Whether no task in the background uses the store.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        // Held by this and by the puller.
        Arc::strong_count(&self.store) == 2 && Arc::strong_count(&self.puller) == 1
    }

    fn sweep_in_background(&self) -> Option<JoinHandle<()>> {
        let (store, metrics) = (Arc::clone(&self.store), self.puller.metrics().clone());
        let sweep = move || {
            let swept = store.sweep(false);
            metrics.swept(swept.is_ok());
            if let Err(error) = swept {
                tracing::warn!(%error, "removing unused layers failed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => Some(runtime.spawn_blocking(sweep)),
            Err(_) => {
                sweep();
                None
            }
        }
    }
}

fn parse(reference: &str) -> Result<Reference, ImageError> {
    Reference::parse(reference)
        .map_err(|source| ImageError::Reference { reference: reference.chars().take(256).collect(), source })
}
