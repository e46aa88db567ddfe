//! Paths below the directory of a layer.
//!
//! Directories that are in use are kept open, at most [`KEPT`]; from the nearest of them the kernel goes the rest of a
//! way at once, refusing links. Where there are links, or something is missing, the way is gone step by step here: no
//! link leads out of the layer, and each step counts.

use super::error::{TarError, UnpackError};
use super::implied::Implied;
use super::limits::Limits;
use super::place::Place;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;

/// Open directories that are kept: archives go through directories one after the other.
const KEPT: usize = 32;
/// Paths through links whose ends are remembered.
const LINKED: usize = 128;
/// The most bytes of a path, links resolved: nobody could name what lies deeper.
pub(super) const MAX_PATH: usize = 4095;
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What to do where a way does not lead on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Make what is missing.
    Make,
    /// Make what is missing, but nothing below files and links: they hide what is below anyway.
    Hide,
    /// Nothing: it is only looked for.
    Find,
}

/// The directory of a layer.
pub(super) struct Tree {
    pub(super) root: Rc<Place>,
    /// The one that was used last comes last.
    kept: Vec<Rc<Place>>,
    /// Where paths lead that go through links.
    linked: HashMap<Vec<u8>, Vec<u8>>,
    /// Directories that were made for what is in them.
    pub implied: Implied,
    /// Entries, and directories that were made for them.
    pub made: u64,
    steps: u64,
    limits: Limits,
}

/// A checked path: no leading slash, no `.` or `..`, no empty component. Empty is the root itself. A whiteout's name may
/// be longer than a name by its prefix.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, TarError> {
    let refused = || TarError::Path(shown(path));
    if path.contains(&0) {
        return Err(refused());
    }
    if path.len() > MAX_PATH + 1 {
        return Err(TarError::Long { path: shown(path), limit: MAX_PATH });
    }
    let mut clean = Vec::with_capacity(path.len());
    let mut long = false;
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(refused()),
            _ if long => return Err(refused()),
            _ => {
                long = component.len() > 255;
                let hidden = component.strip_prefix(super::whiteout::WHITEOUT);
                if long && hidden.is_none_or(|name| name.len() > 255) {
                    return Err(refused());
                }
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
    Ok(clean)
}

/// Parent and last component of a checked path that is not empty.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

pub(super) fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(1024)]).chars().take(256).collect()
}

/// Makes the error when there is one: nothing is done about the path before.
pub(super) fn failed(operation: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| UnpackError::Io { operation, path: shown(path), source: errno.into() }
}

/// As [`failed`], of a name in a directory.
pub(super) fn failed_at(
    operation: &'static str,
    above: &[u8],
    name: &[u8],
) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| failed(operation, &join(above, name))(errno)
}

/// What of the path is below the directory; `None` where it is elsewhere.
fn below<'a>(directory: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory)?;
    if directory.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

pub(super) fn components(path: &[u8]) -> u64 {
    path.split(|byte| *byte == b'/').count() as u64
}

impl Tree {
    pub(super) fn open(directory: &Path, limits: Limits) -> Result<Self, UnpackError> {
        let root = rustix::fs::open(directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(failed("open", directory.as_os_str().as_encoded_bytes()))?;
        let root = Rc::new(Place::enter(root, Vec::new(), Some(0))?);
        let implied = Implied::new();
        Ok(Self { root, kept: Vec::new(), linked: HashMap::new(), implied, made: 0, steps: 0, limits })
    }

    /// The directory at the path. `None` where nothing in it would show ([`Way::Hide`]), or where there is none
    /// ([`Way::Find`]).
    pub(super) fn directory(&mut self, path: &[u8], way: Way) -> Result<Option<Rc<Place>>, UnpackError> {
        let linked = if way == Way::Hide { None } else { self.linked.get(path).cloned() };
        let path = linked.as_deref().unwrap_or(path);
        let base = self.nearest(path);
        let rest = below(&base.path, path).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Some(base));
        }
        self.step(components(rest))?;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = loop {
            match rustix::fs::openat2(&*base, rest, DIRECTORY, Mode::empty(), how) {
                // The kernel saw a rename elsewhere at the same time.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => break other,
            }
        };
        match opened {
            Ok(fd) => self.keep(fd, path.to_vec(), None).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let place = self.go(base, rest, way)?;
                if let Some(place) = &place
                    && place.path != path
                {
                    if self.linked.len() >= LINKED {
                        self.linked.clear();
                    }
                    self.linked.insert(path.to_vec(), place.path.clone());
                }
                Ok(place)
            }
            Err(errno) => Err(failed("open directory", path)(errno)),
        }
    }

    /// The directory with this path, links resolved, if it is open.
    pub(super) fn is_open(&self, path: &[u8]) -> Option<&Rc<Place>> {
        if path.is_empty() { Some(&self.root) } else { self.kept.iter().find(|place| place.path == path) }
    }

    /// One more entry, or directory for one.
    pub(super) fn count(&mut self) -> Result<(), UnpackError> {
        self.made += 1;
        if self.made > self.limits.entries {
            return Err(UnpackError::Limit { what: "entries", limit: self.limits.entries });
        }
        Ok(())
    }

    /// The directory's number among those that are noted as implied, if it is among them.
    pub(super) fn number(&mut self, place: &Place) -> Result<Option<u32>, UnpackError> {
        if place.number.get().is_none() {
            self.step(components(&place.path))?;
            place.number.set(self.implied.find(&place.path));
        }
        Ok(place.number.get())
    }

    /// Forgets what was at the name: it is being removed, with everything in it.
    pub(super) fn forget(&mut self, parent: &Place, name: &[u8]) -> Result<(), UnpackError> {
        if let Some(number) = self.number(parent)? {
            self.implied.forget(number, name);
        }
        let path = join(&parent.path, name);
        self.kept.retain(|place| below(&path, &place.path).is_none());
        self.linked.clear();
        Ok(())
    }

    /// Every directory gets what it shall have.
    pub(super) fn leave(&mut self) -> Result<(), UnpackError> {
        for place in self.kept.drain(..) {
            place.leave()?;
        }
        self.root.leave()
    }

    pub(super) fn step(&mut self, steps: u64) -> Result<(), UnpackError> {
        self.steps += steps;
        if self.steps > self.limits.steps {
            return Err(UnpackError::Steps { limit: self.limits.steps });
        }
        Ok(())
    }

    /// The open directory that is nearest on the way.
    fn nearest(&mut self, path: &[u8]) -> Rc<Place> {
        let mut best: Option<(usize, usize)> = None;
        for (at, place) in self.kept.iter().enumerate().rev() {
            let length = place.path.len();
            if best.is_none_or(|(_, most)| length > most) && below(&place.path, path).is_some() {
                best = Some((at, length));
                if length == path.len() {
                    break;
                }
            }
        }
        let Some((at, _)) = best else { return Rc::clone(&self.root) };
        let place = self.kept.remove(at);
        self.kept.push(Rc::clone(&place));
        place
    }

    /// Keeps the directory open.
    pub(super) fn keep(
        &mut self,
        fd: OwnedFd,
        path: Vec<u8>,
        number: Option<u32>,
    ) -> Result<Rc<Place>, UnpackError> {
        if let Some(place) = self.is_open(&path) {
            return Ok(Rc::clone(place));
        }
        if self.kept.len() >= KEPT {
            self.kept.remove(0).leave()?;
        }
        let place = Rc::new(Place::enter(fd, path, number)?);
        self.kept.push(Rc::clone(&place));
        Ok(place)
    }
}

/// A path for the calls that know no descriptors of their own (xattrs of what is not opened).
pub(super) fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// What stands at the name.
pub(super) fn file_type(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(FileType, u64), Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))
}
