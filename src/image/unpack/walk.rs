//! A way through the tree that is gone step by step: through links, and through what is missing.

use super::error::{TarError, UnpackError};
use super::place::Place;
use super::tree::{
    DIRECTORY, MAX_PATH, Tree, Way, components, failed, failed_at, file_type, join, shown, split,
};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::rc::Rc;

/// What a step costs that is gone here, in steps of the kernel.
const OWN_STEP: u64 = 8;
/// As many as the kernel follows on one way.
const MAX_LINKS: u32 = 40;

/// Where the way has come to.
struct Walk {
    at: At,
    /// Where that is, links resolved.
    path: Vec<u8>,
    /// Its number among the implied directories, if it is known to be among them.
    number: Option<u32>,
    /// What is still to go, from `next` on.
    rest: Vec<u8>,
    next: usize,
    links: u32,
}

enum At {
    Place(Rc<Place>),
    /// Only gone through.
    Passed(OwnedFd),
    /// Made on this way.
    New(OwnedFd),
}

impl AsFd for At {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Place(place) => place.as_fd(),
            Self::Passed(fd) | Self::New(fd) => fd.as_fd(),
        }
    }
}

impl Walk {
    /// Takes the next name, which may be empty or one of dots.
    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.rest.get(self.next..).filter(|rest| !rest.is_empty())?;
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let name = rest[..end].to_vec();
        self.next += end + 1;
        Some(name)
    }

    fn down(&mut self, at: At, name: &[u8]) -> Result<(), UnpackError> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        if self.path.len() > MAX_PATH {
            return Err(TarError::Long { path: shown(&self.path), limit: MAX_PATH }.into());
        }
        self.at = at;
        Ok(())
    }

    /// The target of a link comes before what is still to go.
    fn follow(&mut self, target: &[u8], root: &Rc<Place>) -> Result<(), UnpackError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(failed("open directory", &self.path)(Errno::LOOP));
        }
        if target.starts_with(b"/") {
            (self.at, self.number) = (At::Place(Rc::clone(root)), Some(0));
            self.path.clear();
        }
        let rest = self.rest.get(self.next..).unwrap_or_default();
        (self.rest, self.next) = ([target, b"/", rest].concat(), 0);
        Ok(())
    }
}

impl Tree {
    /// Goes the rest of the way from the directory on, as [`Tree::directory`] says.
    pub(super) fn go(
        &mut self,
        base: Rc<Place>,
        rest: &[u8],
        way: Way,
    ) -> Result<Option<Rc<Place>>, UnpackError> {
        let (path, number) = (base.path.clone(), base.number.get());
        let mut walk = Walk { at: At::Place(base), path, number, rest: rest.to_vec(), next: 0, links: 0 };
        while let Some(name) = walk.next() {
            self.step(OWN_STEP)?;
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    self.up(&mut walk)?;
                    continue;
                }
                _ => {}
            }
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            match rustix::fs::openat(&walk.at, &*name, flags, Mode::empty()) {
                Ok(fd) => {
                    walk.number = walk.number.and_then(|number| self.implied.child(number, &name));
                    walk.down(At::Passed(fd), &name)?;
                }
                Err(Errno::NOENT) if way == Way::Find => return Ok(None),
                Err(Errno::NOENT) => self.make(&mut walk, &name)?,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    if !self.obstacle(&mut walk, &name, way)? {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(failed_at("open directory", &walk.path, &name)(errno)),
            }
        }
        match walk.at {
            At::Place(place) => Ok(Some(place)),
            At::Passed(fd) | At::New(fd) => self.keep(fd, walk.path, walk.number).map(Some),
        }
    }

    fn up(&mut self, walk: &mut Walk) -> Result<(), UnpackError> {
        if walk.path.is_empty() {
            return Ok(());
        }
        let parent = split(&walk.path).0.to_vec();
        walk.at = match self.is_open(&parent) {
            Some(place) => At::Place(Rc::clone(place)),
            None => {
                let opened = rustix::fs::openat(&walk.at, "..", DIRECTORY, Mode::empty());
                At::Passed(opened.map_err(failed("open directory", &parent))?)
            }
        };
        walk.number = parent.is_empty().then_some(0);
        walk.path = parent;
        Ok(())
    }

    /// Makes the missing directory and goes there.
    fn make(&mut self, walk: &mut Walk, name: &[u8]) -> Result<(), UnpackError> {
        self.count()?;
        self.enter(walk)?;
        rustix::fs::mkdirat(&walk.at, name, Mode::from_raw_mode(0o755)).map_err(failed_at(
            "make directory",
            &walk.path,
            name,
        ))?;
        let parent = match walk.number {
            Some(number) => number,
            None => self.note(&walk.path)?,
        };
        if let At::Place(place) = &walk.at {
            place.number.set(Some(parent));
        }
        walk.number = Some(self.implied.add(parent, name, true)?);
        let fd = rustix::fs::openat(&walk.at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(failed_at("open directory", &walk.path, name))?;
        walk.down(At::New(fd), name)
    }

    /// Something is going to change here. What is new inherited nothing; anything else has to be left as it was.
    fn enter(&mut self, walk: &mut Walk) -> Result<(), UnpackError> {
        if let At::Passed(fd) = &walk.at {
            let fd = rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(failed("open", &walk.path))?;
            walk.at = At::Place(self.keep(fd, walk.path.clone(), walk.number)?);
        }
        Ok(())
    }

    /// Notes the way to a directory that is none of the implied.
    fn note(&mut self, path: &[u8]) -> Result<u32, UnpackError> {
        self.step(OWN_STEP * components(path))?;
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.try_fold(0, |number, name| self.implied.add(number, name, false))
    }

    /// Something that is no directory is on the way; whether the way goes on.
    fn obstacle(&mut self, walk: &mut Walk, name: &[u8], way: Way) -> Result<bool, UnpackError> {
        if way == Way::Hide {
            return Ok(false);
        }
        let path = join(&walk.path, name);
        let (there, device) = file_type(walk.at.as_fd(), name).map_err(failed("look at", &path))?;
        match there {
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&walk.at, name, Vec::new()).map_err(failed("read link", &path))?;
                walk.follow(target.as_bytes(), &self.root)?;
                Ok(true)
            }
            // Deleted below by this layer: what is in it now is new.
            FileType::CharacterDevice if device == 0 && way == Way::Make => {
                self.enter(walk)?;
                rustix::fs::unlinkat(&walk.at, name, AtFlags::empty()).map_err(failed("replace", &path))?;
                self.make(walk, name)?;
                super::whiteout::make_opaque(walk.at.as_fd(), &path)?;
                Ok(true)
            }
            _ if way == Way::Find => Ok(false),
            _ => Err(failed("open directory", &path)(Errno::NOTDIR)),
        }
    }
}
