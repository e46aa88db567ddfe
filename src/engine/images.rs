//! The verbs of images.

use crate::Core;
use crate::error::EngineError;
use crate::stats::Stats;
use image::Image;
use model::{FsUsage, ImageSpec};
use std::sync::Arc;

/// The use cases of images.
pub struct Images {
    core: Arc<Core>,
    stats: Arc<Stats>,
}

impl Core {
    /// See [`Images::check_handler`].
    pub(crate) fn check_image_handler(&self, image: &ImageSpec) -> Result<(), EngineError> {
        self.live().handlers.find(&image.runtime_handler).map(drop)
    }
}

impl Images {
    pub(crate) fn new(core: Arc<Core>, stats: Arc<Stats>) -> Self {
        Self { core, stats }
    }

    /// Refuses an image for a runtime handler that is not configured. All that are take the same images.
    ///
    /// # Errors
    /// [`EngineError::UnknownHandler`].
    pub fn check_handler(&self, image: &ImageSpec) -> Result<(), EngineError> {
        self.core.check_image_handler(image)
    }

    /// PullImage: returns the image's id.
    pub async fn pull_image(
        &self,
        reference: &str,
        credentials: Option<image::Credentials>,
    ) -> Result<String, EngineError> {
        let pull = self.core.images.pull(reference, credentials);
        Ok(self.core.operations.track("PullImage", reference.to_owned(), pull).await?)
    }

    /// ListImages: all, or the one that fits.
    pub fn list_images(&self, filter: Option<&str>) -> Result<Vec<Arc<Image>>, EngineError> {
        match filter {
            None => Ok(self.core.images.list()),
            Some(reference) => Ok(self.core.images.find(reference)?.into_iter().collect()),
        }
    }

    /// ImageStatus: nothing for an image that is not there, or has lost a layer.
    pub fn image_status(&self, reference: &str) -> Result<Option<Arc<Image>>, EngineError> {
        Ok(self.core.images.status(reference)?)
    }

    /// RemoveImage; one that is not there is fine.
    pub async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let removal = self.core.images.remove(reference);
        self.core.operations.track("RemoveImage", reference.to_owned(), removal).await?;
        Ok(())
    }

    /// ImageFsInfo: the space of images, and that of the containers' writable layers.
    pub async fn image_fs(&self) -> Result<(FsUsage, FsUsage), EngineError> {
        Ok((self.core.images.fs_usage(), self.stats.containers_on_disk().await?))
    }
}
