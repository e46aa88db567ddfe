//! The mount namespace in which a container is built.
//!
//! Where the supervisor has a bare one, the child stays among the host's mounts only until it has copies of what it needs
//! of them, and then makes its own of the bare one: nothing of the time that it takes depends on how much the host has
//! mounted. Else its namespace is a copy of the host's, cut off, from the fork on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{flag, namespace, propagation};
use sys::{SysResult, fd, mount, process, resolve};
use wire::plan::ContainerPlan;

use crate::{Failure, rootfs};

/// Where the calling process mounts.
pub(super) struct Ground<'a> {
    /// How a copy of the host's mounts is cut off from them.
    propagation: u64,
    state: State<'a>,
}

enum State<'a> {
    /// Among the host's mounts, of which none may be touched.
    Host(BorrowedFd<'a>),
    /// In a copy of them.
    Copy,
    /// In a copy of the bare namespace, with the way to the host's and back.
    Bare { host: Place, own: Place },
}

/// A mount namespace, and a root directory in it: the runtime's is another than the namespace's where it lives in a
/// chroot.
struct Place {
    mounts: OwnedFd,
    root: OwnedFd,
}

impl Place {
    /// Where the caller is, by the host's procfs: in a bare namespace there is none.
    fn here(proc: &OwnedFd) -> SysResult<Self> {
        Ok(Self {
            mounts: resolve::open_at(proc.as_fd(), b"thread-self/ns/mnt", flag::O_RDONLY)?,
            root: resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?,
        })
    }

    fn enter(&self) -> SysResult<()> {
        process::enter(self.mounts.as_fd(), namespace::MOUNT)?;
        process::change_root(self.root.as_fd())
    }
}

impl<'a> Ground<'a> {
    /// In a copy of the host's mounts, which the fork has made and this cuts off; or, with a bare namespace, still among
    /// the host's own. `asked` is the propagation of the plan's root; 0 stands for `MS_SLAVE`.
    pub(super) fn new(asked: u64, bare: Option<BorrowedFd<'a>>) -> Result<Self, Failure> {
        let propagation = if asked == 0 { propagation::SLAVE } else { asked };
        let ground = Self { propagation, state: bare.map_or(State::Copy, State::Host) };
        if bare.is_none() {
            ground.cut()?;
        }
        Ok(ground)
    }

    fn cut(&self) -> SysResult<()> {
        mount::classic(b"", b"/", b"", self.propagation | propagation::RECURSIVE, b"")
    }

    /// Goes on in a copy of the host's mounts: for whoever has to mount something in sight of them.
    pub(super) fn copy(&mut self) -> SysResult<()> {
        if self.is_hosts() {
            process::unshare(namespace::MOUNT)?;
            self.state = State::Copy;
            self.cut()?;
        }
        Ok(())
    }

    /// Cuts a copy of a mount of the host's, made just now, off from it as it would be in a copy of all of them.
    pub(super) fn cut_off(&self, tree: BorrowedFd<'_>) -> SysResult<()> {
        if self.is_hosts() {
            mount::set_attributes(tree, 0, self.propagation & !propagation::RECURSIVE, true)?;
        }
        Ok(())
    }

    /// How everything in it is cut off from the host's.
    pub(super) fn propagation(&self) -> u64 {
        self.propagation
    }

    /// Whether nothing may be mounted yet.
    pub(super) fn is_hosts(&self) -> bool {
        matches!(self.state, State::Host(_))
    }

    /// From the host's mounts to a copy of the bare namespace, with the container's root in it.
    pub(super) fn leave(&mut self, root: BorrowedFd<'_>) -> Result<(), Failure> {
        let State::Host(bare) = self.state else { return Ok(()) };
        let proc = resolve::open(b"/proc", flag::O_PATH | flag::O_DIRECTORY)?;
        fd::expect_procfs(&proc)?;
        let host = Place::here(&proc)?;
        process::enter(bare, namespace::MOUNT)?;
        process::unshare(namespace::MOUNT)?;
        self.state = State::Bare { host, own: Place::here(&proc)? };
        rootfs::place(root)
    }

    /// Does what needs the host's mounts in sight, and changes none of them.
    pub(super) fn in_sight_of_host<T>(&self, what: impl FnOnce() -> SysResult<T>) -> SysResult<T> {
        let State::Bare { host, own } = &self.state else { return what() };
        host.enter()?;
        let done = what();
        own.enter()?;
        done
    }
}

/// Whether such a container can be built without a copy of the host's mounts from the fork on. A user namespace has a copy
/// that it owns; hooks find the host's mounts while they run; a root that is a directory becomes a mount over itself; and
/// what is shared with the host is attached and shared again by its paths there.
pub fn may_leave_early(plan: &ContainerPlan) -> bool {
    plan.ids.is_empty()
        && plan.hooks.is_none()
        && plan.rootfs.directory.is_empty()
        && plan.rootfs.propagation & propagation::SHARED == 0
        && plan.mounts.iter().all(|mount| mount.propagation & propagation::SHARED == 0)
}
