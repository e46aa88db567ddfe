//! Network namespaces, kept alive by a bind mount of their file.

use crate::netlink::{Batch, Socket};
use crate::{SysError, SysResult};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The calling thread's network namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// The loopback interface has this index in every namespace.
const LOOPBACK: u32 = 1;
/// How often going back is tried again.
const RETURN_AGAIN: Duration = Duration::from_millis(1);

/// An open network namespace, with a rtnetlink socket inside.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    fd: OwnedFd,
    rtnl: Socket,
}

impl Netns {
    /// Opens the namespace pinned at a path.
    ///
    /// # Errors
    /// When the path does not exist, is no network namespace, or may not be entered.
    pub fn open(path: &Path) -> SysResult<Self> {
        let fd: OwnedFd = File::open(path).map_err(SysError::io("open network namespace", path))?.into();
        let rtnl = run_in(fd.as_fd(), Socket::route)??;
        Ok(Self { path: path.to_path_buf(), fd, rtnl })
    }

    /// Opens one that somebody else has made and pinned, and sets its loopback interface up.
    ///
    /// # Errors
    /// As [`Netns::open`].
    pub fn adopt(path: &Path) -> SysResult<Self> {
        let netns = Self::open(path)?;
        let mut batch = Batch::new();
        batch.set_up("lo", LOOPBACK, true);
        netns.rtnl.run(&mut batch)?;
        Ok(netns)
    }

    /// Where it is found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The namespace as a file descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A rtnetlink socket that works on this namespace, from whichever one it is used.
    pub fn rtnl(&self) -> &Socket {
        &self.rtnl
    }

    /// Pins one that was made at a path at which nothing is, and whose directory exists.
    ///
    /// # Errors
    /// `EEXIST`, and the kernel's others; nothing is left behind then.
    pub fn pin(self, pin: &Path) -> SysResult<Self> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(pin)
            .map_err(SysError::io("create network namespace file", pin))?;
        let held = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let pinned = mount(Some(held.as_str()), pin, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        if let Err(errno) = pinned {
            // The error that matters is the one that is returned.
            let _ = remove(pin);
            return Err(SysError::nix("bind mount network namespace", pin)(errno));
        }
        Ok(Self { path: pin.to_path_buf(), ..self })
    }
}

/// Makes a network namespace with its loopback interface up. It is pinned nowhere, and ends when this is dropped; the path
/// by which others find it leads to this process's descriptor.
///
/// The calling thread is in there meanwhile, and back when this returns.
///
/// # Errors
/// When a step fails; nothing is left behind then.
pub fn make() -> SysResult<Netns> {
    let _home = Home::note()?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(SysError::nix("unshare network namespace", OWN))?;
    let rtnl = Socket::route()?;
    let mut batch = Batch::new();
    batch.set_up("lo", LOOPBACK, true);
    rtnl.run(&mut batch)?;
    let fd: OwnedFd = File::open(OWN).map_err(SysError::io("open network namespace", OWN))?.into();
    let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    Ok(Netns { path: path.into(), fd, rtnl })
}

/// Makes a network namespace as [`make`] does, and pins it at `pin`, whose directory exists.
///
/// # Errors
/// When a step fails; nothing is left behind then. `pin` must not exist.
pub fn create(pin: &Path) -> SysResult<Netns> {
    make()?.pin(pin)
}

/// Brings up the loopback interface of the network namespace that the calling process is in.
///
/// # Errors
/// The kernel's.
pub fn bring_up_loopback() -> SysResult<()> {
    let mut batch = Batch::new();
    batch.set_up("lo", LOOPBACK, true);
    Socket::route()?.run(&mut batch).map(drop)
}

/// Unpins the namespace at a path. It ends once no process and no descriptor holds it. A path that is not
/// there, or holds no mount, is no error.
///
/// # Errors
/// When unmounting or unlinking fails for another reason.
pub fn remove(path: &Path) -> SysResult<()> {
    // Mounts can be stacked on one path; each is taken off.
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT | nix::Error::ENOTDIR) => break,
            Err(errno) => return Err(SysError::new("unmount network namespace", path, errno as i32)),
        }
    }
    match std::fs::remove_file(path) {
        // What somebody has put in its place.
        Err(error) if error.kind() == ErrorKind::IsADirectory => crate::tree::remove(path),
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(SysError::io("remove network namespace file", path)(error))
        }
        _ => Ok(()),
    }
}

/// Runs a closure in a network namespace; the calling thread is back in its own when this returns.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn run_in<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> SysResult<T> {
    let _home = Home::note()?;
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(SysError::nix("enter network namespace", ""))?;
    Ok(work())
}

/// The network namespace that the calling thread is in, to which it goes back when this is dropped.
struct Home(OwnedFd);

impl Home {
    fn note() -> SysResult<Self> {
        File::open(OWN).map(|own| Self(own.into())).map_err(SysError::io("open network namespace", OWN))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A thread that stayed away would do the work of others there. The kernel can lack memory, but not for ever.
        while setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).is_err() {
            std::thread::sleep(RETURN_AGAIN);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
