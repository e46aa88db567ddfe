//! Paths below a directory that is not trusted: resolved by the kernel inside it, whatever links it holds.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{as_path, c_string, check, owned};
use crate::{SysError, SysResult};

const RESOLVE_NO_XDEV: u64 = 0x01;
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;
/// openat2 reports `EAGAIN` when a rename raced with `..`; so often is it asked again.
const RACES: usize = 64;
const LINKS: usize = 16;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn openat2(dir: BorrowedFd<'_>, path: &[u8], flags: i32, resolve: u64) -> SysResult<OwnedFd> {
    let name = c_string("open", path)?;
    let how = OpenHow { flags: u64::from((flags | libc::O_CLOEXEC).cast_unsigned()), mode: 0, resolve };
    let mut result = Err(SysError::new("open", as_path(path), libc::EAGAIN));
    for _ in 0..RACES {
        // SAFETY: the name is terminated and `how` is a live open_how of the size given.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                name.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        };
        result = owned("open", path, fd);
        if !matches!(&result, Err(error) if error.errno == libc::EAGAIN) {
            break;
        }
    }
    result
}

/// Opens `path` as a process whose root directory is `root` would, but never through a magic link of procfs.
///
/// # Errors
/// The kernel's: `ENOENT`, `ELOOP`, `ENOSYS` before Linux 5.6.
pub fn open_in_root(root: BorrowedFd<'_>, path: &[u8], flags: i32) -> SysResult<OwnedFd> {
    let path = if path.is_empty() { b"/" } else { path };
    openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens `path` strictly below `dir`, on the same mount.
///
/// # Errors
/// `EXDEV` when the path leaves the directory or the mount, or another one of the kernel's.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &[u8], flags: i32) -> SysResult<OwnedFd> {
    openat2(dir, path, flags, RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)
}

/// Splits an absolute path into its directory and its last name; `None` for the root itself.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let path = path.get(..end)?;
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    Some((path.get(..start)?, path.get(start..)?))
}

/// Opens (`O_PATH`) what `path` names inside `root`; where nothing is, a directory (0755) or an empty file
/// (0644) is made first, with the directories that lead there. A dangling link is followed inside the root.
///
/// # Errors
/// The kernel's, and `EINVAL` for a path with `..` behind a directory that does not exist.
pub fn open_or_create(root: BorrowedFd<'_>, path: &[u8], directory: bool) -> SysResult<OwnedFd> {
    create(root, path, directory, LINKS)
}

fn create(root: BorrowedFd<'_>, path: &[u8], directory: bool, links: usize) -> SysResult<OwnedFd> {
    match open_in_root(root, path, libc::O_PATH) {
        Err(error) if error.errno == libc::ENOENT => {}
        other => return other,
    }
    let Some((parent_path, name)) = split(path) else {
        return Err(SysError::new("create", as_path(path), libc::ENOENT));
    };
    if name == b".." || name == b"." || links == 0 {
        return Err(SysError::new(
            "create",
            as_path(path),
            if links == 0 { libc::ELOOP } else { libc::EINVAL },
        ));
    }
    let parent = create(root, parent_path, true, links)?;
    let made = if directory { make_dir(parent.as_fd(), name) } else { make_file(parent.as_fd(), name) };
    match made {
        Err(error) if error.errno == libc::EEXIST => {
            let target = read_link(parent.as_fd(), name)?;
            let joined =
                if target.first() == Some(&b'/') { target } else { lexical_join(parent_path, &target) };
            create(root, &joined, directory, links - 1)
        }
        Err(error) => Err(SysError { path: as_path(path).to_path_buf(), ..error }),
        Ok(()) => open_beneath(parent.as_fd(), name, libc::O_PATH | libc::O_NOFOLLOW),
    }
}

/// `base/target` without `.` and `..`; the result is resolved inside the root once more, so a wrong guess
/// (a link in `base`) leads to another place in the same root at worst.
fn lexical_join(base: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in base.split(|byte| *byte == b'/').chain(target.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut out = vec![b'/'];
    out.extend_from_slice(&parts.join(&b'/'));
    out
}

/// mkdirat(2) with mode 0755.
///
/// # Errors
/// The kernel's.
pub fn make_dir(dir: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    let text = c_string("mkdir", name)?;
    // SAFETY: the name is terminated.
    let result = unsafe { libc::mkdirat(dir.as_raw_fd(), text.as_ptr(), 0o755) };
    check("mkdir", name, result.into())
}

fn make_file(dir: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    let text = c_string("create", name)?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the name is terminated.
    let result = unsafe { libc::openat(dir.as_raw_fd(), text.as_ptr(), flags, 0o644) };
    owned("create", name, result.into()).map(drop)
}

fn read_link(dir: BorrowedFd<'_>, name: &[u8]) -> SysResult<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    nix::fcntl::readlinkat(dir, as_path(name))
        .map(OsStringExt::into_vec)
        .map_err(SysError::nix("readlink", as_path(name)))
}

/// Makes the device node or FIFO `name` with exactly this mode and owner.
///
/// # Errors
/// The kernel's; `EEXIST` when the name is taken, `EPERM` where device nodes are not allowed.
pub fn make_node(
    dir: BorrowedFd<'_>,
    name: &[u8],
    mode: u32,
    device: (u32, u32),
    owner: (u32, u32),
) -> SysResult<()> {
    let text = c_string("mknod", name)?;
    let number = libc::makedev(device.0, device.1);
    // SAFETY: the name is terminated.
    let result = unsafe { libc::mknodat(dir.as_raw_fd(), text.as_ptr(), mode, number) };
    check("mknod", name, result.into())?;
    if owner == (0, 0) {
        return Ok(());
    }
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name is terminated.
    let result = unsafe { libc::fchownat(dir.as_raw_fd(), text.as_ptr(), owner.0, owner.1, flags) };
    check("chown", name, result.into())
}

/// Makes the symbolic link `name` to `target`.
///
/// # Errors
/// The kernel's; `EEXIST` when the name is taken.
pub fn make_link(dir: BorrowedFd<'_>, target: &[u8], name: &[u8]) -> SysResult<()> {
    let (from, text) = (c_string("symlink", target)?, c_string("symlink", name)?);
    // SAFETY: both strings are terminated.
    let result = unsafe { libc::symlinkat(from.as_ptr(), dir.as_raw_fd(), text.as_ptr()) };
    check("symlink", name, result.into())
}

/// Opens a directory or file of the host by its absolute path.
///
/// # Errors
/// The kernel's.
pub fn open(path: &[u8], flags: i32) -> SysResult<OwnedFd> {
    let name = c_string("open", path)?;
    // SAFETY: the name is terminated. Not open(3), to which musl adds a call for kernels without O_CLOEXEC.
    let result = unsafe { libc::openat(libc::AT_FDCWD, name.as_ptr(), flags | libc::O_CLOEXEC, 0o640) };
    owned("open", path, result.into())
}

/// The same by a path from a directory that is trusted, through whatever links it holds.
///
/// # Errors
/// The kernel's.
pub fn open_at(dir: BorrowedFd<'_>, path: &[u8], flags: i32) -> SysResult<OwnedFd> {
    let name = c_string("open", path)?;
    // SAFETY: the name is terminated.
    let result = unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC, 0o640) };
    owned("open", path, result.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("corten-sys-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn links_never_lead_out_of_the_root() {
        let dir = scratch("resolve");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::create_dir_all(dir.join("run")).unwrap();
        symlink("/etc", dir.join("absolute")).unwrap();
        symlink("../../../../run/stub", dir.join("etc/dangling")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let root = open(dir.as_os_str().as_encoded_bytes(), libc::O_PATH | libc::O_DIRECTORY).unwrap();
        let root = root.as_fd();
        open_or_create(root, b"/absolute/made/file", false).unwrap();
        assert!(dir.join("etc/made/file").is_file());
        open_or_create(root, b"/etc/dangling", false).unwrap();
        assert!(dir.join("run/stub").is_file());
        open_or_create(root, b"/a/b/c", true).unwrap();
        assert!(dir.join("a/b/c").is_dir());
        assert_eq!(open_or_create(root, b"/loop", true).unwrap_err().errno, libc::ELOOP);
        assert_eq!(open_or_create(root, b"/nope/../x/..", true).unwrap_err().errno, libc::EINVAL);
        assert!(open_in_root(root, b"/../../../etc/passwd", libc::O_PATH).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn paths_are_split_at_the_last_name() {
        assert_eq!(split(b"/a/b"), Some((&b"/a/"[..], &b"b"[..])));
        assert_eq!(split(b"/a/b/"), Some((&b"/a/"[..], &b"b"[..])));
        assert_eq!(split(b"/a"), Some((&b"/"[..], &b"a"[..])));
        assert_eq!(split(b"/"), None);
    }
}
