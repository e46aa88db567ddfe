//! A bundle: a directory with config.json.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::error::{Error, Result};

/// Reads a bundle's configuration; its paths become absolute. Nothing on the host has been changed.
pub(crate) fn load(bundle: &Path) -> Result<(PathBuf, Spec)> {
    let bundle = bundle.canonicalize().map_err(Error::io("find bundle", bundle))?;
    let file = bundle.join("config.json");
    let text = std::fs::read(&file).map_err(Error::io("read", &file))?;
    let mut spec: Spec = oci::json::read(&text).map_err(Error::json(&file))?;
    let root = spec.root_mut().as_mut().ok_or_else(|| Error::invalid("root", "is missing"))?;
    let path = bundle.join(root.path());
    let path = path.canonicalize().map_err(Error::io("find root", &path))?;
    if !path.is_dir() {
        return Err(Error::invalid("root.path", format!("{} is not a directory", path.display())));
    }
    root.set_path(path);
    for mount in spec.mounts_mut().iter_mut().flatten() {
        absolute(&bundle, mount)?;
    }
    Ok((bundle, spec))
}

/// A bind mount's source may be relative to the bundle; a destination is absolute, and a relative one is an old way to
/// say the same.
fn absolute(bundle: &Path, mount: &mut oci_spec::runtime::Mount) -> Result<()> {
    if mount.destination().as_os_str().is_empty() {
        return Err(Error::invalid("mounts", "one has no destination"));
    }
    if !mount.destination().is_absolute() {
        mount.set_destination(Path::new("/").join(mount.destination()));
    }
    let bind = mount.typ().as_deref() == Some("bind")
        || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
    if let Some(source) = mount.source().clone().filter(|source| bind && !source.is_absolute()) {
        mount.set_source(Some(bundle.join(source)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        dir
    }

    #[test]
    fn paths_of_a_bundle_are_relative_to_it() {
        let dir = write(
            r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"mounts":[
                {"destination":"data","type":"bind","source":"vol","options":["rbind"]},
                {"destination":"/proc","type":"proc","source":"proc"}]}"#,
        );
        let (bundle, spec) = load(dir.path()).unwrap();
        assert_eq!(spec.root().as_ref().unwrap().path(), &bundle.join("rootfs"));
        let mounts = spec.mounts().as_ref().unwrap();
        assert_eq!(mounts[0].destination(), Path::new("/data"));
        assert_eq!(mounts[0].source().as_ref().unwrap(), &bundle.join("vol"));
        assert_eq!(mounts[1].source().as_deref(), Some(Path::new("proc")));
    }

    #[test]
    fn a_bundle_without_a_root_is_refused() {
        assert!(matches!(load(write(r#"{"ociVersion":"1.0.2"}"#).path()), Err(Error::Invalid { .. })));
        assert!(matches!(load(write("{").path()), Err(Error::Json { .. })));
        assert!(matches!(load(Path::new("/nowhere/at/all")), Err(Error::Io { .. })));
    }
}
