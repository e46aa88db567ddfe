//! Classes that pods and plugins ask for by name: of block I/O, which a file of the node describes as weights and rates
//! of devices, and of cache and memory bandwidth, which are groups of the kernel's resctrl filesystem.

mod block_io;
mod quantity;
mod rdt;

use crate::error::{OciError, OciResult};
use oci_spec::runtime::{LinuxBlockIo, LinuxIntelRdt};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// No file of classes is larger.
const SIZE_LIMIT: u64 = 1 << 20;

/// The classes of a node.
#[derive(Debug, Default)]
pub struct Classes {
    block_io: Option<block_io::File>,
    rdt: rdt::Groups,
}

impl Classes {
    /// Reads the file that describes classes of block I/O; without one there are none. Those of cache are the groups
    /// that the kernel has.
    ///
    /// # Errors
    /// [`OciError::Io`] and [`OciError::Invalid`] with the file, and what is wrong with it.
    pub fn read(block_io: Option<&Path>) -> OciResult<Self> {
        let block_io = block_io.map(|path| block_io::parse(path, &text(path)?)).transpose()?;
        Ok(Self { block_io, rdt: rdt::Groups::of(Path::new(rdt::ROOT)) })
    }

    /// The parameters of a class of block I/O, for the devices that are there now.
    ///
    /// # Errors
    /// [`OciError::Invalid`] for a class that nobody describes.
    pub fn block_io(&self, class: &str) -> OciResult<LinuxBlockIo> {
        let refuse = |reason: String| OciError::invalid("block I/O class", reason);
        let file = self.block_io.as_ref();
        let file = file.ok_or_else(|| refuse(format!("{class:?}: no file of classes is set")))?;
        file.class(class)?.ok_or_else(|| refuse(format!("{class:?} is not in {}", file.path.display())))
    }

    /// A class of cache and memory bandwidth.
    ///
    /// # Errors
    /// [`OciError::Invalid`] for a group that is not there, or a host without any.
    pub fn rdt(&self, class: &str) -> OciResult<LinuxIntelRdt> {
        self.rdt.class(class)
    }

    /// Refuses where the host has no such classes.
    ///
    /// # Errors
    /// [`OciError::Invalid`].
    pub fn check_resctrl(&self) -> OciResult<()> {
        self.rdt.check()
    }

    /// Where processes join a class of cache: a directory with a file `tasks`, made where it is missing and the class
    /// says what it is to have. `None` without a class.
    ///
    /// # Errors
    /// [`OciError::Invalid`], [`OciError::Io`].
    pub fn group(&self, class: Option<&LinuxIntelRdt>) -> OciResult<Option<PathBuf>> {
        class.map(|class| self.rdt.join(class)).transpose()
    }
}

/// What pods ask for in annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A class of block I/O.
    BlockIo,
    /// A class of cache.
    Rdt,
}

/// The class that annotations ask for: those of the container before those of the pod for it, and these before those
/// for all of the pod's containers.
pub fn asked<'a>(
    kind: Kind,
    container: (&str, &'a BTreeMap<String, String>),
    pod: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let (own, prefix) = match kind {
        Kind::BlockIo => ("io.kubernetes.cri.blockio-class", "blockio.resources.beta.kubernetes.io"),
        Kind::Rdt => ("io.kubernetes.cri.rdt-class", "rdt.resources.beta.kubernetes.io"),
    };
    let (name, annotations) = container;
    let found = annotations
        .get(own)
        .or_else(|| pod.get(&format!("{prefix}/container.{name}")))
        .or_else(|| pod.get(&format!("{prefix}/pod")));
    found.map(String::as_str).filter(|class| !class.is_empty())
}

fn text(path: &Path) -> OciResult<String> {
    let found = std::fs::metadata(path).map_err(OciError::io("read", path))?;
    if !found.is_file() || found.len() > SIZE_LIMIT {
        return Err(OciError::invalid(path.display().to_string(), "is no regular file of at most 1 MiB"));
    }
    std::fs::read_to_string(path).map_err(OciError::io("read", path))
}

#[cfg(test)]
mod tests;
