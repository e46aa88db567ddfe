//! A mount namespace with an empty root and nothing else, for others to be made of.
//!
//! A new mount namespace is a copy of the one in which it is made, mount by mount: on a node with a thousand pods that is
//! thousands, which are taken apart again a moment later. A copy of this one is two.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::fd::{self, namespace, propagation};
use crate::{SysError, SysResult, mount, process, resolve};

/// Of a process that is in no user namespace (user_namespaces(7)).
const EVERYBODY: [&str; 3] = ["0", "0", "4294967295"];
/// What it is opened by.
const OWN: &[u8] = b"/proc/thread-self/ns/mnt";
/// The root directory and, were it not read-only, one more.
const ROOT: &[u8] = b"nr_inodes=2,size=4k,mode=555";

/// Makes one, which lives for as long as it is held or something is in it. Its root lies below no directory of the
/// host's, and nothing that happens in the host's mounts is seen in there.
///
/// # Errors
/// The kernel's: without `CAP_SYS_ADMIN`, and `ENOSYS` before Linux 5.12, where the attributes of a mount are not set by
/// descriptor (mount_setattr(2)) and who uses it would need a procfs. `EPERM` within a user namespace, in which a procfs is
/// mounted only in sight of another, and `EXDEV` within a chroot, as who enters comes out above it.
pub fn make() -> SysResult<OwnedFd> {
    let map =
        std::fs::read_to_string("/proc/self/uid_map").map_err(SysError::io("read", "/proc/self/uid_map"))?;
    if !map.split_whitespace().eq(EVERYBODY) {
        return Err(SysError::new("make a mount namespace", "within a user namespace", fd::errno::EPERM));
    }
    let failed = SysError::io("make a mount namespace", Path::new(""));
    // A thread of its own moves in: what it has unshared ends with it.
    let thread = std::thread::Builder::new().name("bare mounts".to_owned()).spawn(empty).map_err(failed)?;
    let gone = || SysError::new("make a mount namespace", "", fd::errno::ESRCH);
    thread.join().unwrap_or_else(|_| Err(gone()))
}

fn empty() -> SysResult<OwnedFd> {
    process::unshare(namespace::MOUNT)?;
    mount::classic(b"", b"/", b"", propagation::PRIVATE | propagation::RECURSIVE, b"")?;
    let made = resolve::open(OWN, fd::flag::O_RDONLY)?;
    let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
    let root = mount::filesystem(b"tmpfs", b"bare", ROOT, attributes)?;
    mount::set_attributes(root.as_fd(), 0, propagation::PRIVATE, false)?;
    let place = resolve::open(b"/proc", fd::flag::O_PATH | fd::flag::O_DIRECTORY)?;
    mount::attach(root.as_fd(), place.as_fd())?;
    mount::pivot_into(root.as_fd(), false)?;
    // Where others come out that enter it.
    process::enter(made.as_fd(), namespace::MOUNT)?;
    let found = resolve::open(b"/", fd::flag::O_PATH | fd::flag::O_DIRECTORY)?;
    if fd::identity(&found)? == fd::identity(&root)? {
        Ok(made)
    } else {
        Err(SysError::new("make a mount namespace", "within a chroot", fd::errno::EXDEV))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    /// In a chroot, which is a mount, below a root that is shared.
    #[test]
    fn there_is_none_within_a_chroot() {
        if !need::root("needs root") {
            return;
        }
        let made = std::thread::spawn(|| {
            process::unshare(namespace::MOUNT).unwrap();
            let all = |kind| mount::classic(b"", b"/", b"", kind | propagation::RECURSIVE, b"").unwrap();
            all(propagation::PRIVATE);
            let dir = std::env::temp_dir().join(format!("corten-sys-bare-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            // Its parent is shared with nobody.
            mount::classic(b"tmpfs", dir.as_os_str().as_encoded_bytes(), b"tmpfs", 0, b"").unwrap();
            let inner = dir.join("root");
            fs::create_dir(&inner).unwrap();
            let path = inner.as_os_str().as_encoded_bytes();
            mount::classic(b"/", path, b"", mount::BIND | propagation::RECURSIVE, b"").unwrap();
            mount::classic(b"", b"/", b"", propagation::SHARED, b"").unwrap();
            let before = mounts();
            let root = resolve::open(path, fd::flag::O_PATH | fd::flag::O_DIRECTORY).unwrap();
            let outside = resolve::open(b"/", fd::flag::O_PATH | fd::flag::O_DIRECTORY).unwrap();
            process::change_root(root.as_fd()).unwrap();
            let made = make().map(drop);
            process::change_root(outside.as_fd()).unwrap();
            assert_eq!(mounts(), before);
            mount::detach(dir.as_os_str().as_encoded_bytes()).unwrap();
            fs::remove_dir(&dir).unwrap();
            made
        });
        assert_eq!(made.join().unwrap().unwrap_err().errno, fd::errno::EXDEV);
    }

    fn mounts() -> Vec<String> {
        fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn it_has_an_empty_root_and_leaves_no_mount_behind() {
        if !need::root("needs root") {
            return;
        }
        let before = mounts();
        let bare = make().unwrap();
        let seen = std::thread::spawn(move || {
            // What is opened before shows the thread's own mounts, as procfs is not to be seen in there.
            let table = fs::File::open("/proc/thread-self").unwrap();
            process::unshare(namespace::MOUNT).unwrap();
            process::enter(bare.as_fd(), namespace::MOUNT).unwrap();
            let names: BTreeSet<_> =
                fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect();
            let refused = fs::create_dir("/here").unwrap_err();
            let table = resolve::open_beneath(table.as_fd(), b"mountinfo", fd::flag::O_RDONLY).unwrap();
            (names, refused.kind(), std::io::read_to_string(fs::File::from(table)).unwrap())
        });
        let (names, refused, table) = seen.join().unwrap();
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(refused, std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(table.lines().count(), 1, "{table}");
        assert_eq!(mounts(), before);
    }
}
