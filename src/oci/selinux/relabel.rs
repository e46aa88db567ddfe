//! Labels of files.

use crate::error::{OciError, OciResult};
use model::Mount;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::path::Path;
use sys::fd::errno;
use sys::tree::{Trail, Walk};

const ATTRIBUTE: &str = "security.selinux";
/// So often is a tree gone through in which somebody moves directories meanwhile.
const TRIES: usize = 8;

/// Directories that the host could not do without: relabelling one of them for a container would end the host's own
/// access. Those of `containers/selinux`, and homes.
const KEPT: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// Labels a file, or a directory with everything in it; what is mounted elsewhere in it too, as `chcon -R` does. A
/// filesystem without labels keeps none.
///
/// # Errors
/// [`OciError::Invalid`] with `field` for what the host needs, [`OciError::Io`] when the kernel refuses.
pub fn relabel(field: &str, path: &Path, label: &str) -> OciResult<()> {
    let real = path.canonicalize().map_err(OciError::io("relabel", path))?;
    refuse_kept(field, &real)?;
    set_label(&real, label)
}

/// The field that asks for a mount to be relabelled.
pub fn field(index: usize) -> String {
    format!("mounts[{index}].selinux_relabel")
}

/// Refuses mounts whose files are not to be relabelled, as far as they are there.
///
/// # Errors
/// [`OciError::Invalid`] naming the field.
pub fn check_mounts(mounts: &[Mount]) -> OciResult<()> {
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| mount.selinux_relabel) {
        if let Some(Ok(real)) = mount.host_path.as_ref().map(|path| path.as_path().canonicalize()) {
            refuse_kept(&field(index), &real)?;
        }
    }
    Ok(())
}

fn refuse_kept(field: &str, path: &Path) -> OciResult<()> {
    let is_home = path.parent() == Some(Path::new("/home"));
    if !is_home && !KEPT.iter().any(|kept| path == Path::new(kept)) {
        return Ok(());
    }
    let reason = format!("{} is not to be relabelled: the host needs it as it is", path.display());
    Err(OciError::invalid(field, reason))
}

/// The same, of files of the runtime's own.
///
/// # Errors
/// [`OciError::Io`] when the kernel refuses.
pub fn set_label(path: &Path, label: &str) -> OciResult<()> {
    let failed = |errno| OciError::io("relabel", path)(errno);
    match rustix::fs::lsetxattr(path, ATTRIBUTE, label.as_bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other.map_err(failed)?,
    }
    for _ in 0..TRIES {
        let top = match Trail::open(path) {
            Err(error) if matches!(error.errno, errno::ENOTDIR | errno::ELOOP) => return Ok(()),
            top => top.map_err(OciError::io("relabel", path))?,
        };
        let whole = tree(top.across_mounts(), label.as_bytes());
        if whole.map_err(|error| OciError::io("relabel", path)(error))? {
            return Ok(());
        }
    }
    // Somebody moves directories about all the time.
    Err(failed(Errno::AGAIN))
}

/// Labels everything below the top; false where somebody moved directories meanwhile, so that some may be left out.
fn tree(top: Trail, label: &[u8]) -> std::io::Result<bool> {
    let mut walk = Walk::new(top);
    while let Some(entry) = walk.advance().map_err(std::io::Error::from)? {
        // By the open directory, so that nothing that is moved meanwhile leads out of it.
        let path =
            [format!("/proc/self/fd/{}/", entry.dir.as_raw_fd()).as_bytes(), entry.name.to_bytes()].concat();
        match rustix::fs::lsetxattr(path, ATTRIBUTE, label, XattrFlags::empty()) {
            // Gone meanwhile, or of another filesystem that is mounted there: whoever works there goes on.
            Ok(()) | Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::ROFS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(!walk.is_torn())
}
