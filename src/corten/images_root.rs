//! Where images were when the daemon ran last. Containers go on using their layers there, so `images.root` is not changed
//! under them unnoticed: their room would never be given back, and every image be pulled again.

use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The file in the data directory that says it.
pub(crate) const RECORD: &str = "images-root";
/// What a directory of images has, from its first start on.
pub(crate) const DATABASE: &str = "meta.redb";
/// Where unpacked layers lie in one.
const LAYERS: &str = "layers/sha256";
/// The longest path.
const LONGEST: u64 = 4096;

/// Why images cannot lie in `root`: others are where they were.
pub(crate) fn conflict(data_dir: &Path, root: &Path) -> Option<String> {
    let (known, is_recorded) = match recorded(data_dir) {
        Some(known) => (known, true),
        // Earlier versions wrote nothing down; where both places have images, the setting was there before.
        None => (data_dir.join("images"), false),
    };
    let is_moved = known != root && has_layers(&known) && (is_recorded || !root.join(DATABASE).exists());
    is_moved.then(|| {
        let (known, root) = (known.display(), root.display());
        format!(
            "the images of this node lie in {known}, and containers may use them: with the daemon stopped and no pod \
             left move them (`mv {known} {root}`) or remove them, or set it back"
        )
    })
}

/// Notes it for the next start.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note(data_dir: &Path, root: &Path) -> Result<(), sys::SysError> {
    if recorded(data_dir).as_deref() == Some(root) {
        return Ok(());
    }
    sys::fs::write_atomic(&data_dir.join(RECORD), root.as_os_str().as_bytes(), 0o600)
}

/// Whether images were in `root` that are not there now: its filesystem may not be mounted.
pub(crate) fn are_gone(data_dir: &Path, root: &Path) -> bool {
    recorded(data_dir).as_deref() == Some(root) && !root.join(DATABASE).exists()
}

fn recorded(data_dir: &Path) -> Option<PathBuf> {
    let bytes = sys::regular::read(&data_dir.join(RECORD), LONGEST).ok()?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

fn has_layers(root: &Path) -> bool {
    fs::read_dir(root.join(LAYERS)).is_ok_and(|mut layers| layers.next().is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_change_over_images_is_refused_until_they_are_moved_or_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (data, old, new) = (path("data"), path("data/images"), path("new"));
        fs::create_dir_all(old.join(LAYERS)).unwrap();
        assert_eq!(conflict(&data, &new), None, "there is nothing to lose");
        fs::create_dir(old.join(LAYERS).join("one")).unwrap();
        let told = conflict(&data, &new).unwrap();
        assert!(told.contains("data/images, and containers") && told.contains("new`)"), "{told}");
        assert_eq!(conflict(&data, &old), None);
        // As an earlier version left it, with the setting in force.
        fs::create_dir(&new).unwrap();
        fs::write(new.join(DATABASE), "").unwrap();
        assert_eq!(conflict(&data, &new), None);
        note(&data, &old).unwrap();
        assert!(conflict(&data, &new).is_some(), "what is written down counts");
        fs::rename(&old, path("moved")).unwrap();
        assert_eq!(conflict(&data, &path("moved")), None);
        note(&data, &new).unwrap();
        note(&data, &new).unwrap();
        assert!(!are_gone(&data, &new) && !are_gone(&data, &old));
        fs::remove_file(new.join(DATABASE)).unwrap();
        assert!(are_gone(&data, &new));
    }
}
