//! Whether this host can run pods at all: tried when the daemon starts, so that Status says what is missing before the
//! first container fails for it. What is mended is noticed while the daemon runs.

use crate::runtime::missing_helper;
use crate::settings::Settings;
use oci::caps::CapSet;
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// How long a failure is believed before it is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// `OVERLAYFS_SUPER_MAGIC` of `linux/magic.h`.
const OVERLAYFS: i64 = 0x794c_7630;
/// What every pod takes, beside the capabilities that its containers get.
const OWN: [&str; 9] =
    ["SYS_ADMIN", "NET_ADMIN", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETUID", "SETGID", "SETPCAP"];
/// Filesystems that every container finds mounted.
const FILESYSTEMS: [&str; 5] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue"];

/// What this host lacks, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// An overlay cannot have its writable layer on another overlay.
    #[error("data_dir {} lies on overlayfs, where overlay cannot be mounted: choose a data_dir on ext4 or xfs", data.display())]
    OnOverlay {
        /// The data directory.
        data: PathBuf,
    },
    /// The kernel has no overlayfs.
    #[error("this kernel has no overlayfs: load it with `modprobe overlay`")]
    NoOverlay,
    /// An overlay cannot be mounted.
    #[error("overlay cannot be mounted below data_dir {}: {problem}", data.display())]
    Overlay {
        /// The data directory.
        data: PathBuf,
        /// What the kernel says.
        problem: String,
    },
    /// The kernel lacks filesystems.
    #[error("this kernel has no {0}, which every container finds mounted")]
    Filesystems(String),
    /// A program that every pod takes cannot be executed.
    #[error("pods need another program of Corten's: {0}")]
    Program(String),
    /// The daemon lacks capabilities.
    #[error("the daemon lacks the capabilities {0}: run it as root, and outside of a restricted container")]
    Capabilities(String),
}

impl Unfit {
    /// The reason of the CRI's condition: one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OnOverlay { .. } | Self::NoOverlay | Self::Overlay { .. } => "OverlayUnusable",
            Self::Filesystems(_) => "FilesystemsMissing",
            Self::Program(_) => "ProgramMissing",
            Self::Capabilities(_) => "CapabilitiesMissing",
        }
    }
}

/// What is known of the host.
#[derive(Debug)]
pub(crate) struct Preflight {
    data: PathBuf,
    settings: Settings,
    needed: CapSet,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    outcome: Result<(), Unfit>,
    at: Instant,
    trying: bool,
    /// Which program of ours is missing.
    program: Option<String>,
}

impl Preflight {
    /// Looks at the host. Blocks for some milliseconds.
    pub(crate) fn new(settings: &Settings, data: &Path) -> Self {
        let needed = needed(settings);
        let outcome = examine_for(needed, data, &probe_directory(data));
        tell(&outcome);
        let known = Known { outcome, at: Instant::now(), trying: false, program: None };
        Self { data: data.to_owned(), settings: settings.clone(), needed, known: Mutex::new(known) }
    }

    /// What was found last; a failure that is old is tried again behind this answer. Programs are looked for each time:
    /// packages come and go.
    pub(crate) fn outcome(self: &Arc<Self>) -> Result<(), Unfit> {
        let program = missing_helper(&self.settings);
        let mut known = lock(&self.known);
        if known.program != program {
            tell(&program.clone().map_or(Ok(()), |missing| Err(Unfit::Program(missing))));
            known.program.clone_from(&program);
        }
        if let Some(missing) = program {
            return Err(Unfit::Program(missing));
        }
        if known.outcome.is_err() && !known.trying && known.at.elapsed() > AGAIN {
            known.trying = true;
            let this = self.clone();
            tokio::task::spawn_blocking(move || {
                let outcome = examine_for(this.needed, &this.data, &probe_directory(&this.data));
                let mut known = lock(&this.known);
                if known.outcome != outcome {
                    tell(&outcome);
                }
                (known.outcome, known.at, known.trying) = (outcome, Instant::now(), false);
            });
        }
        known.outcome.clone()
    }
}

fn tell(outcome: &Result<(), Unfit>) {
    match outcome {
        Ok(()) => tracing::debug!("the host can run pods"),
        Err(problem) => tracing::error!(reason = problem.reason(), %problem, "pods cannot run here"),
    }
}

/// Looks at the host; the overlay is tried in a directory that is made for it and goes again.
pub(crate) fn examine(settings: &Settings, data: &Path, directory: &Path) -> Result<(), Unfit> {
    examine_for(needed(settings), data, directory)
}

fn examine_for(needed: CapSet, data: &Path, directory: &Path) -> Result<(), Unfit> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    capabilities(&status, needed)?;
    filesystems(&fs::read_to_string("/proc/filesystems").unwrap_or_default())?;
    let outcome = overlay(data, directory);
    // What a trial leaves behind is in nobody's way, and small.
    let _ = sys::tree::remove(directory);
    outcome
}

/// The capabilities that the daemon has to have.
fn needed(settings: &Settings) -> CapSet {
    // Both lists were checked with the settings.
    let names = OWN.iter().copied().chain(settings.default_capabilities.iter().map(String::as_str));
    CapSet::parse("runtime.default_capabilities", names).unwrap_or_default()
}

fn capabilities(status: &str, needed: CapSet) -> Result<(), Unfit> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    // A host whose /proc does not tell is not refused for it.
    let Some(bits) = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else { return Ok(()) };
    let missing = needed.without(CapSet::from_bits(bits));
    if missing == CapSet::EMPTY { Ok(()) } else { Err(Unfit::Capabilities(missing.names().join(", "))) }
}

fn filesystems(table: &str) -> Result<(), Unfit> {
    let there: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let missing: Vec<&str> = FILESYSTEMS.into_iter().filter(|name| !there.contains(name)).collect();
    if there.is_empty() || missing.is_empty() { Ok(()) } else { Err(Unfit::Filesystems(missing.join(", "))) }
}

fn probe_directory(data: &Path) -> PathBuf {
    data.join("overlay-probe")
}

/// What is wrong with a data directory on an overlay, also where it, or its parents, have yet to be made.
pub(crate) fn on_overlay(data: &Path) -> Option<String> {
    let kind = data.ancestors().find_map(|path| rustix::fs::statfs(path).ok())?.f_type;
    (kind == OVERLAYFS).then(|| Unfit::OnOverlay { data: data.to_owned() }.to_string())
}

/// Mounts an overlay as a container's root is mounted, attached nowhere or for a moment.
fn overlay(data: &Path, directory: &Path) -> Result<(), Unfit> {
    if on_overlay(data).is_some() {
        return Err(Unfit::OnOverlay { data: data.to_owned() });
    }
    let failed = |problem: String| Unfit::Overlay { data: data.to_owned(), problem };
    let [lower, upper, work, target] = ["lower", "upper", "work", "target"].map(|name| directory.join(name));
    for path in [&lower, &upper, &work, &target] {
        fs::create_dir_all(path).map_err(|error| failed(format!("make {}: {error}", path.display())))?;
    }
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let (layers, target) = ([bytes(&lower)], bytes(&target));
    let mounted = match sys::mount::overlay(&layers, &bytes(&upper), &bytes(&work), &[]) {
        Ok(_tree) => return Ok(()),
        // As the launcher does on older kernels.
        Err(error) if [Errno::INVAL, Errno::NOSYS].map(Errno::raw_os_error).contains(&error.errno) => {
            sys::mount::overlay_classic(&layers, &bytes(&upper), &bytes(&work), &target, &[])
                .and_then(|()| sys::mount::detach(&target))
        }
        Err(error) => Err(error),
    };
    mounted.map_err(|error| match error.errno {
        number if number == Errno::NODEV.raw_os_error() => Unfit::NoOverlay,
        _ => failed(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_daemon_without_capabilities_is_told_which() {
        let needed = CapSet::parse("test", ["SYS_ADMIN", "CHOWN", "NET_ADMIN"]).unwrap();
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n", needed), Ok(()));
        let unfit = capabilities("Name:\tx\nCapEff:\t0000000000000001\n", needed).unwrap_err();
        assert_eq!(unfit.reason(), "CapabilitiesMissing");
        assert!(unfit.to_string().contains("lacks the capabilities NET_ADMIN, SYS_ADMIN"), "{unfit}");
    }

    #[test]
    fn a_kernel_without_a_filesystem_is_told_which() {
        let table = "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tdevpts\n\text4\n";
        let unfit = filesystems(table).unwrap_err();
        assert_eq!(unfit, Unfit::Filesystems("mqueue".to_owned()));
        assert_eq!(filesystems(&format!("{table}nodev\tmqueue\n")), Ok(()));
    }

    #[test]
    fn a_directory_of_this_host_takes_an_overlay_and_is_left_as_it_was() {
        if !need::root("mounting needs root") {
            return;
        }
        let data = tempfile::tempdir().unwrap();
        let needed = CapSet::parse("test", OWN).unwrap();
        let outcome = examine_for(needed, data.path(), &probe_directory(data.path()));
        let on_overlay = rustix::fs::statfs(data.path()).unwrap().f_type == OVERLAYFS;
        assert_eq!(outcome.is_ok(), !on_overlay, "{outcome:?}");
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }
}
