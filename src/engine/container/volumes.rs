//! What images contribute to a container's mounts: images as volumes, and the volumes that its own image declares.

use crate::Containers;
use crate::error::EngineError;
use crate::record::MountedImage;
use image::Image;
use model::{ContainerConfig, ContainerId, Rootfs};
use oci::rootfs::RootView;
use oci::spec::{AnonymousVolume, ImageVolume};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The volumes of a container, decided and not made.
#[derive(Default)]
pub(super) struct Volumes {
    /// For the spec.
    pub(super) images: Vec<ImageVolume>,
    /// For the record.
    pub(super) mounted: Vec<MountedImage>,
    /// For the spec, and to be made by [`make_anonymous`].
    pub(super) anonymous: Vec<AnonymousVolume>,
}

impl Containers {
    /// Finds the images that a request mounts, and keeps them until the container is gone.
    pub(super) fn volumes(
        &self,
        id: &ContainerId,
        config: &ContainerConfig,
        image: &Image,
    ) -> Result<Volumes, EngineError> {
        let mut volumes = Volumes::default();
        for (index, mount) in config.mounts.iter().enumerate() {
            let Some(spec) = &mount.image else { continue };
            let (volume, mounted) = self.image_volume(id, index, (&spec.image, &mount.image_sub_path))?;
            volumes.images.push(volume);
            volumes.mounted.push(mounted);
        }
        if !image.config.volumes.is_empty() {
            let base = base(&self.core.paths.container(id.as_str()));
            volumes.anonymous = oci::spec::anonymous_volumes(&image.config.volumes, &config.mounts, &base)?;
        }
        Ok(volumes)
    }

    fn image_volume(
        &self,
        id: &ContainerId,
        mount: usize,
        (name, sub_path): (&str, &str),
    ) -> Result<(ImageVolume, MountedImage), EngineError> {
        let failed = |field: &'static str| {
            move |source: EngineError| EngineError::ImageVolume { mount, field, source: Box::new(source) }
        };
        let held = || {
            let found = self.core.images.find(name)?;
            let found = found.ok_or_else(|| EngineError::NoSuchImage(name.to_owned()))?;
            Ok(self.core.images.hold(&found.id, id.as_str())?)
        };
        let image = held().map_err(failed("image"))?;
        let view = RootView::of(&image.rootfs);
        let found = view.directory(sub_path).map_err(|error| failed("image_sub_path")(error.into()))?;
        let mut layers = found.ok_or_else(|| {
            failed("image_sub_path")(EngineError::NoSuchDirectory { path: sub_path.to_owned() })
        })?;
        if layers.len() < 2 {
            layers.push(self.core.paths.empty());
        }
        // What PullImage answers, whatever the names of the image are.
        let image_ref = image.id.clone();
        Ok((
            ImageVolume { index: mount, rootfs: Rootfs::Layers(layers) },
            MountedImage { mount, image_ref, rootfs: image.rootfs.clone() },
        ))
    }
}

/// Where the volumes of a container lie: with its writable layer, so that they go when it goes.
fn base(container: &Path) -> PathBuf {
    container.join("volumes")
}

/// Makes the volumes that the image declares, each with what the image has at its place.
pub(super) fn make_anonymous(
    volumes: &[AnonymousVolume],
    container: &Path,
    rootfs: &Rootfs,
) -> Result<(), EngineError> {
    if volumes.is_empty() {
        return Ok(());
    }
    let view = RootView::of(rootfs);
    let base = base(container);
    let make = |dir: &Path, mode| {
        fs::DirBuilder::new().mode(mode).create(dir).map_err(EngineError::io("make the directory", dir))
    };
    make(&base, 0o711)?;
    for volume in volumes {
        make(&volume.dir, 0o755)?;
        oci::copy_up(&view, &volume.place, &volume.dir)?;
    }
    Ok(())
}
