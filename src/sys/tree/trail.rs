//! A way down into a tree and back, of any length.
//!
//! The directories nearest to the top stay open, and the last ones. Of those between, only the identity is kept: on the
//! way back each is opened as `..` and held against it, so that nobody who moves directories meanwhile leads elsewhere.

use super::listing::{Listing, Name};
use crate::fd::{as_path, c_string};
use crate::{SysError, SysResult};
use nix::fcntl::AT_FDCWD;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// So many directories stay open at the top.
const FIRST: usize = 4;
/// So many of the last ones stay open.
const LAST: usize = 4;
/// The longest way: 12 MiB of what is kept of it.
const LONGEST: usize = 1 << 19;

/// A directory in a tree, and the way there.
#[derive(Debug)]
pub struct Trail {
    /// One for every directory, the top's first.
    marks: Vec<Mark>,
    first: Vec<Listing>,
    last: VecDeque<Listing>,
    across: bool,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    device: u64,
    inode: u64,
    /// How far the directory was listed, once it is closed.
    place: i64,
}

impl Trail {
    /// The top of a tree.
    ///
    /// # Errors
    /// The kernel's; `ENOTDIR` or `ELOOP` where no directory is.
    pub fn open(path: &Path) -> SysResult<Self> {
        let name = c_string("open", path.as_os_str().as_bytes())?;
        Self::at(Listing::open_path(AT_FDCWD, &name)?)
            .map_err(|error| SysError { path: path.to_path_buf(), ..error })
    }

    /// The top of a tree, which is open for reading.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(top: OwnedFd) -> SysResult<Self> {
        Self::at(Listing::of(top))
    }

    fn at(top: Listing) -> SysResult<Self> {
        let mark = mark(&top)?;
        Ok(Self { marks: vec![mark], first: vec![top], last: VecDeque::new(), across: false })
    }

    /// What is mounted in the tree belongs to it.
    #[must_use]
    pub fn across_mounts(self) -> Self {
        Self { across: true, ..self }
    }

    /// How far below the top.
    pub fn depth(&self) -> usize {
        self.marks.len().saturating_sub(1)
    }

    /// The directory.
    pub fn here(&self) -> BorrowedFd<'_> {
        // The top is never left.
        self.last.back().or(self.first.last()).map_or(AT_FDCWD, |listing| listing.as_fd())
    }

    /// The next name in the directory, on from where it was left.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&mut self) -> SysResult<Option<Name>> {
        self.last.back_mut().or(self.first.last_mut()).map_or(Ok(None), Listing::next)
    }

    /// Goes down into the directory of that name.
    ///
    /// # Errors
    /// The kernel's, and nothing has changed: `ENOENT`, `ENOTDIR` where none is; `EXDEV` where something is mounted;
    /// `ENAMETOOLONG` where the way becomes too long.
    pub fn enter(&mut self, name: &CStr) -> SysResult<()> {
        if self.marks.len() > LONGEST {
            return Err(SysError::new(
                "go deeper than 524288 directories into",
                as_path(name.to_bytes()),
                libc::ENAMETOOLONG,
            ));
        }
        let opened = if self.across { Listing::open_path } else { Listing::open };
        let listing = opened(self.here(), name)?;
        let mark = mark(&listing)?;
        if self.marks.len() < FIRST {
            self.first.push(listing);
        } else {
            if self.last.len() >= LAST
                && let Some(closed) = self.last.pop_front()
                && let Some(mark) = self.marks.iter_mut().nth_back(LAST - 1)
            {
                mark.place = closed.place();
            }
            self.last.push_back(listing);
        }
        self.marks.push(mark);
        Ok(())
    }

    /// Goes back up; false at the top, which is not left.
    ///
    /// # Errors
    /// Somebody has moved a directory of the way: the trail is then at the deepest directory above that is still open.
    pub fn leave(&mut self) -> SysResult<bool> {
        if self.depth() == 0 {
            return Ok(false);
        }
        self.marks.pop();
        let Some(left) = self.last.pop_back() else {
            self.first.pop();
            return Ok(true);
        };
        if self.last.is_empty() && self.marks.len() > FIRST {
            match self.marks.last().map(|mark| above(&left, *mark)) {
                Some(Ok(listing)) => self.last.push_back(listing),
                lost => {
                    self.marks.truncate(FIRST);
                    lost.transpose()?;
                }
            }
        }
        Ok(true)
    }

    /// Goes up to this depth, or as far up as it takes.
    pub fn back_to(&mut self, depth: usize) {
        while self.depth() > depth {
            // One that was moved meanwhile is left as well.
            let _ = self.leave();
        }
    }
}

fn mark(listing: &Listing) -> SysResult<Mark> {
    let stat = nix::sys::stat::fstat(listing).map_err(SysError::nix("stat", ""))?;
    Ok(Mark { device: stat.st_dev, inode: stat.st_ino, place: 0 })
}

/// The directory above, if it is the one that the mark is of.
fn above(below: &Listing, expected: Mark) -> SysResult<Listing> {
    let mut listing = Listing::open_path(below.as_fd(), c"..")?;
    let found = mark(&listing)?;
    if (found.device, found.inode) != (expected.device, expected.inode) {
        return Err(SysError::new("go back up", "", libc::ESTALE));
    }
    listing.seek(expected.place)?;
    Ok(listing)
}
