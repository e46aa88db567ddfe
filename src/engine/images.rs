//! The verbs of images.

use crate::Engine;
use crate::error::EngineError;
use crate::view::FsUsage;
use image::Image;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

impl Engine {
    /// PullImage: returns the image's id.
    pub async fn pull_image(
        &self,
        reference: &str,
        credentials: Option<image::Credentials>,
    ) -> Result<String, EngineError> {
        Ok(self.images.pull(reference, credentials).await?)
    }

    /// ListImages: all, or the one that fits.
    pub fn list_images(&self, filter: Option<&str>) -> Result<Vec<Arc<Image>>, EngineError> {
        match filter {
            None => Ok(self.images.list()),
            Some(reference) => Ok(self.images.find(reference)?.into_iter().collect()),
        }
    }

    /// ImageStatus: nothing for an image that is not there.
    pub fn image_status(&self, reference: &str) -> Result<Option<Arc<Image>>, EngineError> {
        Ok(self.images.find(reference)?)
    }

    /// RemoveImage; one that is not there is fine.
    pub async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        Ok(self.images.remove(reference).await?)
    }

    /// ImageFsInfo: the space of images, and that of the containers' writable layers.
    pub async fn image_fs(self: &Arc<Self>) -> Result<(FsUsage, FsUsage), EngineError> {
        let images = self.images.fs_usage();
        let dir = self.paths.data.join("containers");
        let containers = crate::blocking("measuring writable layers", move || Ok(usage(dir))).await?;
        let images = FsUsage { mountpoint: images.mountpoint, bytes: images.bytes, inodes: images.inodes };
        Ok((images, containers))
    }
}

/// What a tree takes on its filesystem: allocated blocks and inodes. What vanishes meanwhile is no matter.
fn usage(root: PathBuf) -> FsUsage {
    let (mut bytes, mut inodes) = (0, 0);
    let mut waiting = vec![root.clone()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            inodes += 1;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    FsUsage { mountpoint: root, bytes, inodes }
}
