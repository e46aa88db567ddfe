//! Registries and documents of images that lie.
