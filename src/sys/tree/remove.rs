//! Removal of a whole tree.
//!
//! It goes down a few levels by open directories. A directory that lies deeper is moved up to the top of the tree, under
//! a number, and has its turn there: nothing has to be kept of the way back, however deep the tree was.

use super::listing::{Listing, Name};
use crate::fd::{as_path, c_string};
use crate::{SysError, SysResult};
use nix::fcntl::{AT_FDCWD, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// So many levels are gone down by descriptors.
const LEVELS: usize = 8;
/// So often is the tree gone through where somebody puts things into it meanwhile.
const PASSES: usize = 64;

/// Removes what lies at the path, with everything in it and without following links; nothing there is no error. What
/// cannot be removed does not keep the rest.
///
/// # Errors
/// The first one of the kernel's; `EXDEV` or `EBUSY` where something is mounted in the tree, which is left alone.
pub fn remove(path: &Path) -> SysResult<()> {
    remove_at(AT_FDCWD, path.as_os_str().as_bytes())
}

/// Removes what has the name in the directory, as [`remove`] does.
///
/// # Errors
/// As of [`remove`].
pub fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    let failed = |error: SysError| SysError { path: as_path(name).to_path_buf(), ..error };
    let name = c_string("remove", name)?;
    // A path may lead to another filesystem; what is below may not.
    let top = match Listing::open_path(parent, &name) {
        Err(error) if error.errno == libc::ENOENT => return Ok(()),
        Err(error) if matches!(error.errno, libc::ENOTDIR | libc::ELOOP) => {
            return gone(unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)).map_err(failed);
        }
        top => top.map_err(failed)?,
    };
    for _ in 0..PASSES {
        let pass = Pass::run(top.as_fd());
        match gone(unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir)) {
            Ok(()) => return Ok(()),
            Err(error) if !pass.removed => return Err(failed(pass.error.unwrap_or(error))),
            Err(_) => {}
        }
    }
    Err(failed(SysError::new("remove", "", libc::ENOTEMPTY)))
}

/// One way through everything below the top.
struct Pass<'a> {
    top: BorrowedFd<'a>,
    /// The highest number under which a directory may wait at the top.
    waiting: u64,
    removed: bool,
    /// Something could not be moved up: a full disk has no room for its name there.
    stuck: bool,
    error: Option<SysError>,
}

struct Level {
    name: CString,
    listing: Listing,
}

impl<'a> Pass<'a> {
    fn run(top: BorrowedFd<'a>) -> Self {
        let mut pass = Self { top, waiting: 0, removed: false, stuck: false, error: None };
        pass.directory(top, c".");
        while pass.waiting > 0 {
            let number = pass.waiting;
            let name = numbered(number);
            pass.take(top, &name);
            if pass.waiting == number {
                pass.waiting -= 1;
            }
        }
        if pass.stuck && !pass.removed {
            pass.dig();
        }
        pass
    }

    /// Removes what has the name, a directory with everything in it.
    fn take(&mut self, parent: BorrowedFd<'_>, name: &CString) {
        if self.is_full(parent, name, true) {
            self.directory(parent, name);
            self.is_full(parent, name, true);
        }
    }

    /// Removes all that is in the directory, as far as it goes.
    fn directory(&mut self, parent: BorrowedFd<'_>, name: &CStr) {
        let Some(listing) = self.open(parent, name) else { return };
        let mut levels = vec![Level { name: name.to_owned(), listing }];
        while let Some(level) = levels.last_mut() {
            let found = match level.listing.next() {
                Ok(Some(found)) => found,
                end => {
                    self.note(end.err());
                    let done = levels.pop();
                    if let (Some(done), Some(above)) = (done, levels.last()) {
                        self.is_full(above.listing.as_fd(), &done.name, true);
                    }
                    continue;
                }
            };
            let Name { name, .. } = &found;
            if !self.is_full(level.listing.as_fd(), name, found.may_be_directory()) {
                continue;
            }
            if levels.len() == LEVELS {
                self.move_up(levels.last().map(|level| level.listing.as_fd()), name);
            } else if let Some(above) = levels.last()
                && let Some(listing) = self.open(above.listing.as_fd(), name)
            {
                levels.push(Level { name: found.name, listing });
            }
        }
    }

    fn open(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Option<Listing> {
        let opened = Listing::open(parent, name);
        match opened {
            Err(error) if matches!(error.errno, libc::ENOENT | libc::ENOTDIR) => None,
            opened => opened.map_err(|error| self.note(Some(error))).ok(),
        }
    }

    /// Removes a name; true where it is a directory that is not empty.
    fn is_full(&mut self, parent: BorrowedFd<'_>, name: &CStr, may_be_directory: bool) -> bool {
        if may_be_directory {
            match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
                Err(nix::Error::ENOTDIR) => {}
                Err(nix::Error::ENOTEMPTY | nix::Error::EEXIST) => return true,
                other => {
                    self.count(other);
                    return false;
                }
            }
        }
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            // It has become one.
            Err(nix::Error::EISDIR) if !may_be_directory => return self.is_full(parent, name, true),
            other => self.count(other),
        }
        false
    }

    fn move_up(&mut self, parent: Option<BorrowedFd<'_>>, name: &CStr) {
        let Some(parent) = parent else { return };
        loop {
            self.waiting += 1;
            match renameat(parent, name, self.top, numbered(self.waiting).as_c_str()) {
                // Something there has that name, and is removed under it.
                Err(nix::Error::EEXIST | nix::Error::ENOTEMPTY | nix::Error::ENOTDIR) => {}
                Ok(()) => return self.removed = true,
                Err(error) => {
                    self.stuck = true;
                    return self.note(Some(SysError::nix("move up", as_path(name.to_bytes()))(error)));
                }
            }
        }
    }

    /// Goes down, keeping nothing of the way, to where something can be removed: that makes room to move things up.
    fn dig(&mut self) {
        let mut here = self.open(self.top, c".");
        while let Some(mut listing) = here {
            let mut below = None;
            loop {
                match listing.next() {
                    Ok(Some(found)) => {
                        let full = self.is_full(listing.as_fd(), &found.name, found.may_be_directory());
                        if full && below.is_none() {
                            below = Some(found.name);
                        }
                    }
                    end => break self.note(end.err()),
                }
            }
            here = match below {
                Some(name) if !self.removed => self.open(listing.as_fd(), &name),
                _ => None,
            };
        }
    }

    fn count(&mut self, result: nix::Result<()>) {
        match result {
            Err(nix::Error::ENOENT) => {}
            Ok(()) => self.removed = true,
            Err(error) => self.note(Some(SysError::nix("remove", "")(error))),
        }
    }

    fn note(&mut self, error: Option<SysError>) {
        if self.error.is_none() {
            self.error = error;
        }
    }
}

fn numbered(number: u64) -> CString {
    CString::new(format!(".corten-removed-{number}")).unwrap_or_default()
}

fn gone(result: nix::Result<()>) -> SysResult<()> {
    match result {
        Err(nix::Error::ENOENT) => Ok(()),
        other => other.map_err(SysError::nix("remove", "")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tree::tests::{chain, scratch};

    #[test]
    fn where_nothing_can_be_moved_up_the_deepest_goes_first() {
        let dir = scratch("dig");
        chain(&dir, b"d", 100);
        std::fs::write(dir.join("d/d/file"), "").unwrap();
        let top = Listing::open_path(AT_FDCWD, &CString::new(dir.as_os_str().as_bytes()).unwrap()).unwrap();
        let mut pass = Pass { top: top.as_fd(), waiting: 0, removed: false, stuck: true, error: None };
        pass.dig();
        assert!(pass.removed && !dir.join("d/d/file").exists() && dir.join("d/d/d").exists());
        for left in (3..100).rev() {
            pass.removed = false;
            pass.dig();
            let deepest = dir.join("d/".repeat(left));
            assert!(pass.removed && deepest.exists() && !deepest.join("d").exists(), "{left}");
        }
        remove(&dir).unwrap();
    }
}
