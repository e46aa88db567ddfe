//! Mounts by descriptor: detached trees that are configured first and attached last, so that nothing is ever
//! mounted through a path that a container could have changed in between.

mod overlay;

pub use overlay::{common_directory, overlay, overlay_classic, overlay_read_only, overlay_read_only_classic};

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{as_path, c_string, check, owned};
use crate::{SysError, SysResult};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const MOUNT_ATTR_ATIME: u64 = 0x70;
/// The kernel's limit on the value of one fsconfig option, with its terminator.
const OPTION_LIMIT: usize = 256;

/// `MOUNT_ATTR_RDONLY`.
pub const READ_ONLY: u64 = 0x01;
/// `MOUNT_ATTR_NOSUID`.
pub const NO_SUID: u64 = 0x02;
/// `MOUNT_ATTR_NODEV`.
pub const NO_DEV: u64 = 0x04;
/// `MOUNT_ATTR_NOEXEC`.
pub const NO_EXEC: u64 = 0x08;
/// `MOUNT_ATTR_RELATIME`.
pub const RELATIVE_TIMES: u64 = libc::MOUNT_ATTR_RELATIME;
/// `MOUNT_ATTR_NOATIME`.
pub const NO_ACCESS_TIMES: u64 = libc::MOUNT_ATTR_NOATIME;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICT_TIMES: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NO_DIRECTORY_TIMES: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const NO_LINKS: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// For [`classic`]: another place for what is mounted already.
pub const BIND: u64 = libc::MS_BIND;
/// For [`classic`]: other attributes, with [`BIND`] of the mount alone.
pub const REMOUNT: u64 = libc::MS_REMOUNT;

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Copies the mount that `path` lies on, rooted at `path`, without attaching it. With `dir` the path is below
/// it; an empty path is `dir` itself.
///
/// # Errors
/// The kernel's.
pub fn clone_tree(dir: Option<BorrowedFd<'_>>, path: &[u8], recursive: bool) -> SysResult<OwnedFd> {
    let name = c_string("clone mount", path)?;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned();
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH.cast_unsigned();
    }
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: the name is terminated.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, dir, name.as_ptr(), flags) };
    owned("clone mount", path, result)
}

/// A filesystem under construction.
struct Context(OwnedFd);

impl Context {
    fn new(fstype: &[u8]) -> SysResult<Self> {
        let name = c_string("fsopen", fstype)?;
        // SAFETY: the name is terminated.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) };
        owned("fsopen", fstype, result).map(Self)
    }

    fn config(&self, command: libc::c_uint, key: Option<&[u8]>, value: Option<&[u8]>) -> SysResult<()> {
        let op = "configure mount option";
        let what = key.unwrap_or_default();
        let key = key.map(|key| c_string(op, key)).transpose()?;
        let value = value.map(|value| c_string(op, value)).transpose()?;
        let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        // SAFETY: each string is terminated, or null where the command takes none.
        let result = unsafe {
            libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, pointer(&key), pointer(&value), 0)
        };
        check(op, what, result)
    }

    fn string(&self, key: &[u8], value: &[u8]) -> SysResult<()> {
        if value.len() >= OPTION_LIMIT {
            return Err(SysError::new("configure mount option", as_path(key), libc::ENAMETOOLONG));
        }
        self.config(FSCONFIG_SET_STRING, Some(key), Some(value))
    }

    fn finish(self, fstype: &[u8], attributes: u64) -> SysResult<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None)
            .map_err(|error| SysError::new("create filesystem", as_path(fstype), error.errno))?;
        // SAFETY: fsmount takes no pointers.
        let result =
            unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) };
        owned("fsmount", fstype, result)
    }
}

/// A new filesystem, not attached yet. `data` is comma-separated as for mount(2); a value that contains a comma stands in
/// quotes.
///
/// # Errors
/// The kernel's.
pub fn filesystem(fstype: &[u8], source: &[u8], data: &[u8], attributes: u64) -> SysResult<OwnedFd> {
    let context = Context::new(fstype)?;
    if !source.is_empty() {
        context.string(b"source", source)?;
    }
    let mut quoted = false;
    let ends = |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    for option in data.split(ends).filter(|option| !option.is_empty()) {
        match option.iter().position(|byte| *byte == b'=').and_then(|at| option.split_at_checked(at)) {
            Some((key, value)) => {
                let value = value.get(1..).unwrap_or_default();
                let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                context.string(key, bare.unwrap_or(value))?;
            }
            None => context.config(FSCONFIG_SET_FLAG, Some(option), None)?,
        }
    }
    context.finish(fstype, attributes)
}

/// mount_setattr(2) on the mount that `tree` is the root of. `propagation` is `MS_PRIVATE`, `MS_SLAVE`,
/// `MS_SHARED` or 0 to keep it.
///
/// # Errors
/// The kernel's; before Linux 5.12 `ENOSYS`.
pub fn set_attributes(tree: BorrowedFd<'_>, set: u64, propagation: u64, recursive: bool) -> SysResult<()> {
    change_attributes(tree, (set, 0), propagation, recursive)
}

/// The same with attributes to set and to clear.
///
/// # Errors
/// As [`set_attributes`].
pub fn change_attributes(
    tree: BorrowedFd<'_>,
    (set, clear): (u64, u64),
    propagation: u64,
    recursive: bool,
) -> SysResult<()> {
    // The access time modes are one field: setting one means clearing them all.
    let clear = if set & MOUNT_ATTR_ATIME == 0 { clear } else { clear | MOUNT_ATTR_ATIME };
    apply("set mount attributes", tree, &MountAttr { set, clear, propagation, userns: 0 }, recursive)
}

/// Shows the owners on a detached tree through the ids of a user namespace (an idmapped mount).
///
/// # Errors
/// The kernel's: `EINVAL` on a filesystem that cannot, or below a mount that is idmapped already, `EPERM` for a tree
/// that was attached.
pub fn set_idmap(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> SysResult<()> {
    let userns = u64::from(userns.as_raw_fd().cast_unsigned());
    let attr = MountAttr { set: libc::MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns };
    apply("map the owners on", tree, &attr, recursive)
}

fn apply(op: &'static str, tree: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> SysResult<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a terminated empty string and `attr` a live mount_attr of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    check(op, b"", result)
}

/// Whether attributes can be set on whole trees (mount_setattr(2), since Linux 5.12): asked by a call that changes
/// nothing.
pub fn has_mount_setattr() -> bool {
    std::fs::File::open("/").is_ok_and(|root| set_attributes(root.as_fd(), 0, 0, false).is_ok())
}

/// Attaches a detached tree at an open directory or file.
///
/// # Errors
/// The kernel's; `ENOTDIR` when a file meets a directory.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> SysResult<()> {
    move_to(tree, target, c"", MOVE_MOUNT_T_EMPTY_PATH)
}

/// The same at a name in a directory that nobody else changes: links are not followed.
///
/// # Errors
/// The kernel's.
pub fn attach_at(tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    move_to(tree, dir, &c_string("attach mount", name)?, 0)
}

fn move_to(tree: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, flags: u32) -> SysResult<()> {
    let (from, to, flags) = (tree.as_raw_fd(), target.as_raw_fd(), MOVE_MOUNT_F_EMPTY_PATH | flags);
    // SAFETY: both paths are terminated.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, name.as_ptr(), flags) };
    check("attach mount", name.to_bytes(), result)
}

/// mount(2); empty strings become null.
///
/// # Errors
/// The kernel's.
pub fn classic(source: &[u8], target: &[u8], fstype: &[u8], flags: u64, data: &[u8]) -> SysResult<()> {
    let op = "mount";
    let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| c_string(op, bytes)).transpose();
    let (source, kind, data) = (text(source)?, text(fstype)?, text(data)?);
    let name = c_string(op, target)?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: every string is terminated or null.
    let result =
        unsafe { libc::mount(pointer(&source), name.as_ptr(), pointer(&kind), flags, pointer(&data).cast()) };
    check(op, target, result.into())
}

/// Detaches what is mounted at `path`; what still uses it keeps it until it lets go.
///
/// # Errors
/// The kernel's; `EINVAL` when nothing is mounted there.
pub fn detach(path: &[u8]) -> SysResult<()> {
    let name = c_string("unmount", path)?;
    // SAFETY: the name is terminated.
    let result = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    check("unmount", path, result.into())
}

/// Makes `root`, a mount of this namespace, the root directory, and lets go of the old one. With `isolate`
/// the old tree is cut off from its peers first, so that letting go of it is not seen by the host.
///
/// # Errors
/// The kernel's.
pub fn pivot_into(root: BorrowedFd<'_>, isolate: bool) -> SysResult<()> {
    let old = crate::resolve::open(b"/", libc::O_PATH | libc::O_DIRECTORY)?;
    change_dir(root)?;
    let here = c".";
    // SAFETY: both paths are terminated.
    let result = unsafe { libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) };
    check("pivot_root", b"", result)?;
    change_dir(std::os::fd::AsFd::as_fd(&old))?;
    if isolate {
        classic(b"", b".", b"", libc::MS_REC | libc::MS_SLAVE, b"")?;
    }
    // SAFETY: the path is terminated.
    check("unmount", b"old root", unsafe { libc::umount2(here.as_ptr(), libc::MNT_DETACH) }.into())?;
    // SAFETY: the path is terminated.
    check("chdir", b"/", unsafe { libc::chdir(c"/".as_ptr()) }.into())
}

/// Moves `root`, a mount of this namespace, over the root directory and makes it the process's: for hosts whose root
/// is the initial ramdisk, where pivot_root(2) does not work. The old root stays below, out of reach by any path.
///
/// # Errors
/// The kernel's.
pub fn move_into(root: BorrowedFd<'_>) -> SysResult<()> {
    change_dir(root)?;
    classic(b".", b"/", b"", libc::MS_MOVE, b"")?;
    // SAFETY: the path is terminated.
    check("chroot", b".", unsafe { libc::chroot(c".".as_ptr()) }.into())?;
    // SAFETY: the path is terminated.
    check("chdir", b"/", unsafe { libc::chdir(c"/".as_ptr()) }.into())
}

/// fchdir(2).
///
/// # Errors
/// The kernel's.
pub fn change_dir(dir: BorrowedFd<'_>) -> SysResult<()> {
    // SAFETY: fchdir takes no pointers.
    check("chdir", b"", unsafe { libc::fchdir(dir.as_raw_fd()) }.into())
}
