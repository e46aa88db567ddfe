//! Classes that pods and plugins ask for by name: of block I/O, which a file of the node describes as weights and rates
//! of devices, and of cache and memory bandwidth, which are groups of the kernel's resctrl filesystem.

mod block_io;
mod quantity;
mod rdt;

pub use rdt::{RdtReport, Resctrl, own_groups, remove_group};

use crate::adjust::{Adjuster, Subject};
use crate::error::{OciError, OciResult};
use oci_spec::runtime::{LinuxBlockIo, LinuxIntelRdt, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use sys::sync::lock;

/// No file of classes is larger.
const SIZE_LIMIT: u64 = 1 << 20;

/// The classes of a node.
#[derive(Debug, Default)]
pub struct Classes {
    /// The file of those of block I/O.
    block_io: Option<PathBuf>,
    rdt: rdt::Groups,
    /// Which kinds annotations may ask for where the node has none.
    passed_over: Vec<Kind>,
    /// What has been told in the log.
    told: Mutex<BTreeSet<(Kind, String)>>,
    /// Why no class of a kind could be had when that was last asked.
    problems: Mutex<BTreeMap<Kind, String>>,
}

/// As many are told once each: annotations may name any.
const TOLD: usize = 256;

impl Classes {
    /// Those of block I/O that a file describes, as it says when one is asked for; without a file there are none. Those of
    /// cache are the groups that the kernel has in `resctrl`. Nothing is read yet.
    pub fn new(block_io: Option<&Path>, resctrl: &Resctrl) -> Self {
        let rdt = rdt::Groups::of(resctrl);
        Self { block_io: block_io.map(Path::to_path_buf), rdt, ..Self::default() }
    }

    /// The same, with those of cache that a file describes. They are made by [`Classes::make_groups`], and as the file says
    /// when one is asked for. `record` is where is kept which groups are of this making: others are never removed.
    #[must_use]
    pub fn with_rdt(self, file: &Path, record: &Path) -> Self {
        Self { rdt: self.rdt.described_in(file, record), ..self }
    }

    /// Whether the file of classes of a kind is right, where there is one.
    ///
    /// # Errors
    /// [`OciError::Io`] and [`OciError::Invalid`] with the file, and what is wrong with it; of classes of cache also a file
    /// that this host cannot do as it says.
    pub fn check_file(&self, kind: Kind) -> OciResult<()> {
        match kind {
            Kind::BlockIo => self.block_io.as_deref().map(file).transpose().map(drop),
            Kind::Rdt => self.rdt.check_described(),
        }
    }

    /// Makes the groups of the file of classes of cache, and removes those of its former ones that have no processes.
    /// `None` without a file or a resctrl filesystem.
    ///
    /// # Errors
    /// As [`Classes::check_file`]. What the kernel refuses of a class is in the report.
    pub fn make_groups(&self) -> OciResult<Option<RdtReport>> {
        self.rdt.make()
    }

    /// The same where the file has changed since it was last read. What came of reading it because somebody asked for a
    /// class is told then, too; nothing is told twice.
    ///
    /// # Errors
    /// As [`Classes::make_groups`], once for a file as it is.
    pub fn follow_groups(&self) -> OciResult<Option<RdtReport>> {
        self.rdt.follow()
    }

    /// The same; what annotations ask for of these kinds is passed over where the node has none.
    #[must_use]
    pub fn passing_over(self, kinds: Vec<Kind>) -> Self {
        Self { passed_over: kinds, ..self }
    }

    /// The parameters of a class of block I/O, for the devices that are there now.
    ///
    /// # Errors
    /// [`OciError::Invalid`] for a class that nobody describes, [`OciError::Node`] where none is described or the file is
    /// wrong.
    pub fn block_io(&self, class: &str) -> OciResult<LinuxBlockIo> {
        let refuse = |reason: String| OciError::invalid("block I/O class", reason);
        let path = self.block_io.as_deref();
        let path = path.ok_or_else(|| {
            refuse(format!("{class:?}: runtime.blockio_config_file names no file of classes")).of_node()
        })?;
        let found = file(path).and_then(|file| file.class(class));
        let found = found.map_err(|error| error.of_node().named("runtime.blockio_config_file"))?;
        found.ok_or_else(|| {
            refuse(format!("{class:?} is not in {} (runtime.blockio_config_file)", path.display()))
        })
    }

    /// Devices that classes of block I/O are about and this host has not, each with its class in a line; nothing is told
    /// twice.
    ///
    /// # Errors
    /// As [`Classes::check_file`].
    pub fn absent_devices(&self) -> OciResult<Vec<String>> {
        let Some(path) = &self.block_io else { return Ok(Vec::new()) };
        let file = file(path)?;
        let line = |(class, device): (&str, &str)| {
            format!(
                "class {class:?}: this host has no block device {device}: its limits there are not applied"
            )
        };
        Ok(file.absent().into_iter().map(line).filter(|line| self.is_news(Kind::BlockIo, line)).collect())
    }

    /// Whether something is told for the first time.
    fn is_news(&self, kind: Kind, what: &str) -> bool {
        let mut told = lock(&self.told);
        told.len() < TOLD && told.insert((kind, what.to_owned()))
    }

    /// A class of cache and memory bandwidth.
    ///
    /// # Errors
    /// [`OciError::Invalid`] for a group that is not there, [`OciError::Node`] for a host without any, a file that is wrong
    /// and a class that the kernel refuses.
    pub fn rdt(&self, class: &str) -> OciResult<LinuxIntelRdt> {
        self.rdt.class(class, None)
    }

    /// Why no class of a kind that a file describes can be had, whatever it says of it: the file of those of block I/O is
    /// wrong, the host has no groups. `None` also where it is as it was when this was last asked.
    pub fn new_problem(&self, kind: Kind) -> Option<OciError> {
        let problem = match kind {
            Kind::BlockIo => self.check_file(kind).err(),
            Kind::Rdt => self.rdt.lack_of_described(),
        };
        let mut problems = lock(&self.problems);
        let Some(problem) = problem else {
            problems.remove(&kind);
            return None;
        };
        let told = problem.to_string();
        (problems.insert(kind, told.clone()) != Some(told)).then_some(problem)
    }

    /// Refuses where the host has no such classes.
    ///
    /// # Errors
    /// [`OciError::Node`].
    pub fn check_resctrl(&self) -> OciResult<()> {
        self.rdt.check()
    }

    /// Where processes join a class of cache: a directory with a file `tasks`, made where it is missing and the class
    /// says what it is to have. `None` without a class.
    ///
    /// # Errors
    /// [`OciError::Invalid`], [`OciError::Node`].
    pub fn group(&self, class: Option<&LinuxIntelRdt>) -> OciResult<Option<PathBuf>> {
        class.map(|class| self.rdt.join(class)).transpose()
    }

    /// The node has classes of a kind.
    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::BlockIo => self.block_io.is_some(),
            Kind::Rdt => self.check_resctrl().is_ok(),
        }
    }
}

/// Containers get the classes that annotations ask for.
impl Adjuster for Classes {
    fn name(&self) -> &'static str {
        "classes of annotations"
    }

    fn adjust(&self, spec: &mut Spec, subject: &Subject<'_>) -> OciResult<()> {
        let container = (subject.container.metadata.name.as_str(), &subject.container.annotations);
        for kind in [Kind::BlockIo, Kind::Rdt] {
            let Some(Asked { class, by, annotation }) = asked(kind, container, &subject.sandbox.annotations)
            else {
                continue;
            };
            let named = |error: OciError| error.named(&format!("annotation {annotation}"));
            if self.passed_over.contains(&kind) && !self.has(kind) {
                let container = subject.container_id.as_str();
                if self.is_news(kind, class) {
                    tracing::info!(
                        class,
                        container,
                        setting = kind.ignoring(),
                        "annotations ask for a class of which the node has none of the kind: they say nothing, as the setting has it"
                    );
                }
                continue;
            }
            let linux = spec.linux_mut().get_or_insert_default();
            match kind {
                Kind::BlockIo => {
                    let parameters = self.block_io(class).map_err(named)?;
                    linux.resources_mut().get_or_insert_default().set_block_io(Some(parameters));
                }
                Kind::Rdt => {
                    linux.set_intel_rdt(Some(self.rdt.class(class, Some(by)).map_err(named)?));
                }
            }
        }
        Ok(())
    }
}

fn file(path: &Path) -> OciResult<block_io::File> {
    block_io::parse(path, &text(path)?)
}

/// What pods ask for in annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A class of block I/O.
    BlockIo,
    /// A class of cache.
    Rdt,
}

impl Kind {
    /// The setting by which annotations that ask for one say nothing where there is none.
    fn ignoring(self) -> &'static str {
        match self {
            Self::BlockIo => "runtime.ignore_blockio_not_enabled_errors",
            Self::Rdt => "runtime.ignore_rdt_not_enabled_errors",
        }
    }
}

/// Whose annotations ask for a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The container's own.
    Container,
    /// The pod's.
    Pod,
}

/// A class that an annotation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its name.
    pub class: &'a str,
    /// Whose annotation it is.
    pub by: Origin,
    /// The annotation's key.
    pub annotation: String,
}

/// The class that annotations ask for: those of the container before those of the pod for it, and these before those
/// for all of the pod's containers.
pub fn asked<'a>(
    kind: Kind,
    container: (&str, &'a BTreeMap<String, String>),
    pod: &'a BTreeMap<String, String>,
) -> Option<Asked<'a>> {
    let (own, prefix) = match kind {
        Kind::BlockIo => ("io.kubernetes.cri.blockio-class", "blockio.resources.beta.kubernetes.io"),
        Kind::Rdt => ("io.kubernetes.cri.rdt-class", "rdt.resources.beta.kubernetes.io"),
    };
    let (name, annotations) = container;
    let places = [
        (annotations, Origin::Container, own.to_owned()),
        (pod, Origin::Pod, format!("{prefix}/container.{name}")),
        (pod, Origin::Pod, format!("{prefix}/pod")),
    ];
    let found = places.into_iter().find_map(|(place, by, annotation)| {
        place.get(&annotation).map(|class| Asked { class, by, annotation })
    });
    found.filter(|asked| !asked.class.is_empty())
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
