//! Paths that a container must not read, or not write. All is done by descriptor: a path is resolved once,
//! inside the root, and mounted over where it was found (CVE-2025-31133).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag, propagation};
use sys::{SysResult, fd, mount, resolve};

use crate::ground::Ground;
use crate::{Context, Failure, mounts, null};

/// Hides the masked paths, then makes the others read-only. Absent ones are skipped.
pub(super) fn apply(
    root: BorrowedFd<'_>,
    ground: &Ground<'_>,
    masked: &[Vec<u8>],
    readonly: &[Vec<u8>],
) -> Result<(), Failure> {
    let mut masker = Masker { root, ground, null: None, empty: None };
    for path in masked {
        if let Some(target) = find(root, path).context("mask", path)? {
            masker.mask(target.as_fd()).context("mask", path)?;
        }
    }
    for path in readonly {
        if let Some(target) = find(root, path).context("make read-only", path)? {
            make_read_only(target.as_fd()).context("make read-only", path)?;
        }
    }
    Ok(())
}

fn find(root: BorrowedFd<'_>, path: &[u8]) -> SysResult<Option<OwnedFd>> {
    match resolve::open_in_root(root, path, flag::O_PATH) {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.errno, errno::ENOENT | errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What lies over the masked paths: one null device, and one empty read-only directory for all of them.
struct Masker<'a> {
    root: BorrowedFd<'a>,
    ground: &'a Ground<'a>,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Masker<'_> {
    fn mask(&mut self, target: BorrowedFd<'_>) -> SysResult<()> {
        if !fd::identity(target)?.is_dir() {
            return self.cover(target);
        }
        if let Some(empty) = &self.empty {
            let tree = mount::clone_tree(Some(empty.as_fd()), b"", false)?;
            return mount::attach(tree.as_fd(), target);
        }
        let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
        let tree = mount::filesystem(b"tmpfs", b"tmpfs", b"nr_inodes=2,size=4k,mode=755", attributes)?;
        mount::attach(tree.as_fd(), target)?;
        self.empty = Some(tree);
        Ok(())
    }

    /// A null device over a file: used and not changed, whoever has the right to.
    fn cover(&mut self, target: BorrowedFd<'_>) -> SysResult<()> {
        let tree = match &self.null {
            Some(null) => mount::clone_tree(Some(null.as_fd()), b"", false)?,
            None => verified_null(self.root, self.ground)?,
        };
        null::attach_sealed(tree.as_fd(), target)?;
        // Attached, it can be copied like any other.
        self.null.get_or_insert(tree);
        Ok(())
    }
}

/// The container's own null device, as what it is by descriptor and not by path: an image may have something else there
/// (CVE-2025-31133). Then, or where it has none, the host's.
fn verified_null(root: BorrowedFd<'_>, ground: &Ground<'_>) -> SysResult<OwnedFd> {
    let is_null = |null: &OwnedFd| fd::identity(null).is_ok_and(|null| null.is_char_device(1, 3));
    if let Ok(null) = resolve::open_in_root(root, b"/dev/null", flag::O_PATH)
        && is_null(&null)
    {
        return mount::clone_tree(Some(null.as_fd()), b"", false);
    }
    let null = ground.in_sight_of_host(|| mount::clone_tree(None, b"/dev/null", false))?;
    if is_null(&null) { Ok(null) } else { Err(sys::SysError::new("verify", "/dev/null", errno::ENODEV)) }
}

fn make_read_only(target: BorrowedFd<'_>) -> SysResult<()> {
    let tree = mount::clone_tree(Some(target), b"", true)?;
    match mount::set_attributes(tree.as_fd(), mount::READ_ONLY, propagation::PRIVATE, true) {
        Err(error) if error.errno == errno::ENOSYS => {
            mount::attach(tree.as_fd(), target)?;
            mounts::configure(tree.as_fd(), mount::READ_ONLY, propagation::PRIVATE, false)
        }
        Err(error) => Err(error),
        Ok(()) => mount::attach(tree.as_fd(), target),
    }
}
