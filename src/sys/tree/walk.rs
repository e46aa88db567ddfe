//! Everything in a tree, one thing after the other, directories before what is in them.

use super::listing::Name;
use super::trail::Trail;
use crate::fd::as_path;
use crate::{SysError, SysResult};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstatat};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// A walk through a tree. What appears, vanishes or moves meanwhile is told or not.
#[derive(Debug)]
pub struct Walk {
    trail: Trail,
    found: Option<(Name, FileStat)>,
    enters: bool,
    ended: bool,
    torn: bool,
}

/// Something in a tree.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The directory that it is in.
    pub dir: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// What it is: of a link, the link itself.
    pub stat: &'a FileStat,
    /// How far the directory is below the top, which is at 0.
    pub depth: usize,
}

impl Entry<'_> {
    /// Whether it is a directory, whose entries come next.
    pub fn is_dir(&self) -> bool {
        is_dir(self.stat)
    }
}

impl Walk {
    /// Begins below the directory in which the trail is.
    pub fn new(top: Trail) -> Self {
        Self { trail: top, found: None, enters: false, ended: false, torn: false }
    }

    /// The next entry, `None` after the last.
    ///
    /// # Errors
    /// The kernel's, of a directory or an entry that the walk passes over when it is asked again.
    pub fn advance(&mut self) -> SysResult<Option<Entry<'_>>> {
        if std::mem::take(&mut self.enters)
            && let Some((name, _)) = &self.found
        {
            entered(self.trail.enter(name.as_c_str()))?;
        }
        while !self.ended {
            let name = match self.trail.read() {
                Ok(Some(name)) => name,
                end => {
                    self.leave();
                    end?;
                    continue;
                }
            };
            let stat = match look(self.trail.here(), name.as_c_str()) {
                Err(error) if error.is_absent() => continue,
                found => found?,
            };
            self.enters = is_dir(&stat);
            self.found = Some((name, stat));
            break;
        }
        let (dir, depth) = (self.trail.here(), self.trail.depth());
        let found = self.found.as_ref().filter(|_| !self.ended);
        Ok(found.map(|(name, stat)| Entry { dir, name: name.as_c_str(), stat, depth }))
    }

    /// Leaves out what is in the directory that came last.
    pub fn skip(&mut self) {
        self.enters = false;
    }

    /// Whether somebody moved directories so that parts of the tree were left out.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    fn leave(&mut self) {
        match self.trail.leave() {
            Ok(up) => self.ended = !up,
            Err(_) => self.torn = true,
        }
    }
}

/// What has the name in the directory: of a link, the link itself.
///
/// # Errors
/// The kernel's; [`SysError::is_absent`] where nothing is.
pub fn look(dir: BorrowedFd<'_>, name: &CStr) -> SysResult<FileStat> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(SysError::nix("stat", as_path(name.to_bytes())))
}

/// What is no directory any more, or never belonged to the tree, holds nothing.
fn entered(result: SysResult<()>) -> SysResult<()> {
    match result {
        Err(error) if matches!(error.errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV) => {
            Ok(())
        }
        other => other,
    }
}

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}
