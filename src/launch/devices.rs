//! Device nodes and symbolic links of the new root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag};
use sys::{SysResult, fd, mount, resolve};
use wire::plan::DevicePlan;

use crate::ground::Ground;
use crate::{Context, Failure, null};

/// Makes the nodes, then the links. The parent directory of the last one is kept open: nearly all are in /dev.
pub(super) fn create_all(
    root: BorrowedFd<'_>,
    ground: &Ground<'_>,
    devices: &[DevicePlan],
    links: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), Failure> {
    let mut parents = Parents { root, last: None };
    for device in devices {
        create(&mut parents, ground, device).context("create device", &device.path)?;
    }
    for (target, path) in links {
        link(&mut parents, target, path).context("create link", path)?;
    }
    Ok(())
}

struct Parents<'a> {
    root: BorrowedFd<'a>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Parents<'_> {
    /// The open directory of a path, and its last name.
    fn of<'p>(&mut self, path: &'p [u8]) -> SysResult<(BorrowedFd<'_>, &'p [u8])> {
        let (parent, name) = resolve::split(path)
            .ok_or_else(|| sys::SysError::new("create", fd::as_path(path), errno::EINVAL))?;
        if !matches!(&self.last, Some((known, _)) if known == parent) {
            let opened = resolve::open_or_create(self.root, parent, true)?;
            self.last = Some((parent.to_vec(), opened));
        }
        match &self.last {
            Some((_, dir)) => Ok((dir.as_fd(), name)),
            None => Err(sys::SysError::new("create", fd::as_path(path), errno::EINVAL)),
        }
    }
}

fn create(parents: &mut Parents<'_>, ground: &Ground<'_>, device: &DevicePlan) -> SysResult<()> {
    let root = parents.root;
    let (dir, name) = parents.of(&device.path)?;
    let made =
        resolve::make_node(dir, name, device.mode, (device.major, device.minor), (device.uid, device.gid));
    match made {
        // The image brought the name along: good when it is the same device, else a trap.
        Err(error) if error.errno == errno::EEXIST => {
            let found = resolve::open_beneath(dir, name, flag::O_PATH | flag::O_NOFOLLOW)?;
            let found = fd::identity(&found)?;
            let same = found.mode & fd::FILE_TYPE == device.mode & fd::FILE_TYPE
                && (found.is_device(device.major, device.minor) || !found.has_numbers());
            if same { Ok(()) } else { Err(error) }
        }
        // In a user namespace, or where the device controller forbids it: the host's node appears instead.
        Err(error) if error.errno == errno::EPERM => {
            let tree = ground.in_sight_of_host(|| mount::clone_tree(None, &device.path, false))?;
            if !fd::identity(&tree)?.is_device(device.major, device.minor) {
                return Err(error);
            }
            let target = resolve::open_or_create(root, &device.path, false)?;
            null::attach_sealed(tree.as_fd(), target.as_fd())
        }
        other => other,
    }
}

fn link(parents: &mut Parents<'_>, target: &[u8], path: &[u8]) -> SysResult<()> {
    let (dir, name) = parents.of(path)?;
    match resolve::make_link(dir, target, name) {
        Err(error) if error.errno == errno::EEXIST => Ok(()),
        other => other,
    }
}
