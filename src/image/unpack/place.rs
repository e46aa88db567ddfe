//! A directory of the layer in which something is made: open, and so that what is made in it inherits nothing. What it
//! shall look like is put back when it is left, so that nothing of it has to be remembered until the end.

use super::attributes::times;
use super::error::UnpackError;
use super::tree::failed;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};

/// What children inherit.
const DEFAULT_ACL: &str = "system.posix_acl_default";
const SET_GROUP: u32 = 0o2000;
const USABLE: u32 = 0o700;

/// An open directory.
pub(super) struct Place {
    fd: OwnedFd,
    /// Where it is in the layer, links resolved.
    pub path: Vec<u8>,
    /// Its number among the directories that are noted as implied.
    pub number: Cell<Option<u32>>,
    last: RefCell<Last>,
}

/// What it gets when it is left.
struct Last {
    mode: Option<u32>,
    times: Timestamps,
    acl: Option<Vec<u8>>,
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Place {
    pub(super) fn enter(fd: OwnedFd, path: Vec<u8>, number: Option<u32>) -> Result<Self, UnpackError> {
        let stat = rustix::fs::fstat(&fd).map_err(failed("look at", &path))?;
        let nsec = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nsec },
        };
        let last = RefCell::new(Last { mode: None, times, acl: None });
        let place = Self { fd, path, number: Cell::new(number), last };
        place.open_up(stat.st_mode & 0o7777)?;
        Ok(place)
    }

    /// Takes away, for as long as things are made in it, what they would inherit.
    fn open_up(&self, mode: u32) -> Result<(), UnpackError> {
        let mut last = self.last.borrow_mut();
        if mode & SET_GROUP != 0 || mode & USABLE != USABLE {
            let plain = Mode::from_raw_mode(mode & !SET_GROUP | USABLE);
            rustix::fs::fchmod(&self.fd, plain).map_err(failed("set the mode of", &self.path))?;
            last.mode.get_or_insert(mode);
        }
        let mut nothing = [0u8; 0];
        match rustix::fs::fgetxattr(&self.fd, DEFAULT_ACL, &mut nothing[..]) {
            Ok(length) if length > 0 => {
                let read = failed("read the default permissions of", &self.path);
                let mut acl = vec![0; length];
                let length =
                    rustix::fs::fgetxattr(&self.fd, DEFAULT_ACL, acl.as_mut_slice()).map_err(read)?;
                acl.truncate(length);
                rustix::fs::fremovexattr(&self.fd, DEFAULT_ACL)
                    .map_err(failed("put aside the default permissions of", &self.path))?;
                last.acl = Some(acl);
                Ok(())
            }
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(failed("read the default permissions of", &self.path)(errno)),
        }
    }

    /// An entry says what it shall be.
    pub(super) fn describe(&self, mode: u32, mtime: (i64, u32)) -> Result<(), UnpackError> {
        {
            let mut last = self.last.borrow_mut();
            last.mode = Some(mode);
            last.times = times(mtime);
        }
        self.open_up(USABLE)
    }

    /// Nothing is made in it for now.
    pub(super) fn leave(&self) -> Result<(), UnpackError> {
        let mut last = self.last.borrow_mut();
        if let Some(acl) = last.acl.take() {
            rustix::fs::fsetxattr(&self.fd, DEFAULT_ACL, &acl, XattrFlags::empty())
                .map_err(failed("set the default permissions of", &self.path))?;
        }
        if let Some(mode) = last.mode.take() {
            rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))
                .map_err(failed("set the mode of", &self.path))?;
        }
        rustix::fs::futimens(&self.fd, &last.times).map_err(failed("set the times of", &self.path))
    }
}
