//! What there is to be taken away, found without changing anything.

use super::supervisors::{self, Supervisor};
use crate::config::{Config, MetricsAddress};
use engine::{Paths, RecordedPod};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where the hierarchies of cgroups are.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";
/// How deep below their root cgroups of pods lie at most.
const DEEPEST: usize = 8;

/// Everything of this node that is Corten's.
#[derive(Debug)]
pub(super) struct Survey {
    /// Pods on record, and those that nothing but an attachment or a supervisor tells of.
    pub(super) pods: Vec<RecordedPod>,
    /// Pods that no daemon would take down: what is known of them is their ids, by directories and attachments.
    pub(super) lost: BTreeSet<String>,
    /// Ids of pods and containers.
    pub(super) ids: BTreeSet<String>,
    pub(super) supervisors: Vec<Supervisor>,
    /// Mounts of its own, the innermost first.
    pub(super) mounts: Vec<PathBuf>,
    /// Mounts of others below its directories.
    pub(super) foreign: Vec<PathBuf>,
    pub(super) pins: Vec<PathBuf>,
    /// Groups of the resctrl filesystem.
    pub(super) groups: Vec<PathBuf>,
    pub(super) bridges: Vec<String>,
    /// Tables of packet rules that are there.
    pub(super) tables: Vec<&'static str>,
    /// Sockets of a daemon that is gone, where they lie outside of its directories.
    pub(super) sockets: Vec<PathBuf>,
    /// Files and directories.
    pub(super) files: Vec<PathBuf>,
}

impl Survey {
    pub(super) fn take(config: &Config, images: bool) -> Self {
        let paths = Paths { state: config.state_dir.clone(), data: config.data_dir.clone() };
        let mut pods = paths.recorded();
        // A cgroup is known by its name: one of somebody else could be called by any other.
        pods.retain(|pod| is_id(&pod.id));
        let mut lost: BTreeSet<String> =
            pods.iter().filter(|pod| !pod.is_readable()).map(|pod| pod.id.clone()).collect();
        let recorded: BTreeSet<String> = pods.iter().map(|pod| pod.id.clone()).collect();
        let attached: BTreeSet<String> = attached(&config.network.state_dir).collect();
        let known: BTreeSet<String> = recorded.union(&attached).cloned().collect();
        let supervisors = supervisors::find(&config.state_dir, &known);
        let living: BTreeSet<String> = supervisors.iter().map(|found| found.process.pod.clone()).collect();
        // A daemon takes those that live from the durable copies of their records.
        lost.extend(attached.iter().filter(|id| !recorded.contains(*id) && !living.contains(*id)).cloned());
        let unrecorded = attached.union(&living).filter(|id| !recorded.contains(*id));
        pods.extend(unrecorded.map(|id| RecordedPod { id: id.clone(), ..RecordedPod::default() }));
        for Supervisor { process, containers } in &supervisors {
            if let Some(pod) = pods.iter_mut().find(|pod| pod.id == process.pod) {
                pod.containers.extend(containers.iter().filter(|id| **id != process.pod).cloned());
                pod.containers.sort();
                pod.containers.dedup();
            }
        }
        let mut ids = ids_of(&pods);
        ids.extend(names(&paths.layers()).filter(|name| is_id(name)));
        let (mounts, foreign) = mounts(config);
        Self {
            supervisors,
            lost,
            pins: pins(&config.runtime.netns_dir, &pods),
            groups: paths.cache_groups(),
            bridges: config.network.own_bridges(),
            tables: net::tables(),
            sockets: sockets(config),
            files: files(config, images, &foreign),
            pods,
            ids,
            mounts,
            foreign,
        }
    }

    /// Whether there is nothing to take away.
    pub(super) fn is_empty(&self) -> bool {
        self.to_string().is_empty()
    }

    /// The lost pods.
    pub(super) fn lost_pods(&self) -> impl Iterator<Item = &RecordedPod> {
        self.pods.iter().filter(|pod| self.lost.contains(&pod.id))
    }

    /// Cgroup directories that were made for pods.
    pub(super) fn made_cgroups(&self) -> BTreeSet<PathBuf> {
        self.pods.iter().flat_map(|pod| pod.cgroups.clone()).collect()
    }
}

/// The ids of pods and of their containers.
pub(super) fn ids_of<'a>(pods: impl IntoIterator<Item = &'a RecordedPod>) -> BTreeSet<String> {
    let both = pods.into_iter().flat_map(|pod| pod.containers.iter().chain([&pod.id]));
    both.filter(|id| is_id(id)).cloned().collect()
}

/// Whether pods or containers may be called so.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Cgroups of these pods and containers, the innermost first.
pub(super) fn cgroups(ids: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if !ids.is_empty() {
        descend(Path::new(CGROUPS), DEEPEST, ids, &mut found);
    }
    found
}

/// Pods of which there is an attachment to a network, whatever is written in its file.
fn attached(state: &Path) -> impl Iterator<Item = String> {
    let files = names(&state.join("attachments")).filter(|name| name.ends_with(".json"));
    files.filter_map(|name| name.split_once('-').map(|(id, _)| id.to_owned())).filter(|id| is_id(id))
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pod in &self.pods {
            let name = if pod.name.is_empty() { "(its record cannot be read)" } else { &pod.name };
            writeln!(f, "pod {name} {}, containers: {}", pod.id, pod.containers.len())?;
        }
        for supervisor in &self.supervisors {
            writeln!(f, "process {} (corten-shim)", supervisor.process.pid)?;
        }
        for (what, paths) in [("mount", &self.mounts), ("network namespace", &self.pins)] {
            paths.iter().try_for_each(|path| writeln!(f, "{what} {}", path.display()))?;
        }
        cgroups(&self.ids).iter().try_for_each(|path| writeln!(f, "cgroup {}", path.display()))?;
        self.groups.iter().try_for_each(|path| writeln!(f, "group of cache {}", path.display()))?;
        self.bridges.iter().try_for_each(|name| writeln!(f, "bridge {name}, once no pod is on it"))?;
        self.tables
            .iter()
            .try_for_each(|name| writeln!(f, "nftables {name}, once it holds no entry of anybody"))?;
        self.sockets.iter().try_for_each(|path| writeln!(f, "socket {}", path.display()))?;
        self.files.iter().try_for_each(|path| writeln!(f, "files {}", path.display()))?;
        self.foreign
            .iter()
            .try_for_each(|path| writeln!(f, "stays: {} is a mount of somebody else", path.display()))
    }
}

/// Those of pods: by their records, and by their ids.
fn pins(directory: &Path, pods: &[RecordedPod]) -> Vec<PathBuf> {
    let of_records = pods.iter().filter_map(|pod| pod.netns.clone());
    let named = pods.iter().map(|pod| directory.join(engine::netns_name(&pod.id)));
    let all: BTreeSet<PathBuf> = of_records.chain(named).filter(|path| path.exists()).collect();
    all.into_iter().collect()
}

/// Mounts below the daemon's directories: its own, and those that somebody else has made there.
fn mounts(config: &Config) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let own = [
        config.state_dir.join("pods"),
        config.state_dir.join("rootfs"),
        config.data_dir.join("containers"),
        config.data_dir.join("overlay-probe"),
        config.data_dir.join("userns-probe"),
    ];
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points =
        table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let is_below = |path: &PathBuf| {
        [&config.state_dir, &config.data_dir, &config.images.root]
            .iter()
            .any(|directory| path.starts_with(directory) && path != *directory)
    };
    let mut all: Vec<PathBuf> = points.filter(is_below).collect();
    all.reverse();
    all.into_iter().partition(|path| own.iter().any(|directory| path.starts_with(directory)))
}

/// As `/proc/self/mountinfo` writes them: blanks and the like are three octal digits behind a backslash.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (written, meant) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(written, meant);
    }
    plain
}

/// Those that nobody answers on: another runtime may have its own in the same place. They are of another kind than this
/// asks for, so that he hears nothing of it.
fn sockets(config: &Config) -> Vec<PathBuf> {
    let mut paths = vec![config.socket.clone(), config.nri.socket_path.clone()];
    if let MetricsAddress::Unix(path) = &config.metrics.address {
        paths.push(path.clone());
    }
    let is_stale = |path: &PathBuf| {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        let asked = sys::socket::connect_messages(path).map_err(std::io::Error::from);
        is_socket
            && !path.starts_with(&config.state_dir)
            && asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    paths.retain(is_stale);
    paths.dedup();
    paths
}

/// Everything in the daemon's directories, images where they are asked for, but for what holds a mount of somebody else: a
/// tree is removed from its top, also where that is the mount.
fn files(config: &Config, images: bool, foreign: &[PathBuf]) -> Vec<PathBuf> {
    let is_kept =
        |path: &PathBuf| !images && (*path == config.images.root || config.images.root.starts_with(path));
    let entries = |directory: &Path| {
        let mut paths: Vec<PathBuf> = names(directory).map(|name| directory.join(name)).collect();
        paths.sort();
        paths
    };
    let mut all = entries(&config.data_dir);
    all.extend(entries(&config.state_dir));
    if images && !config.images.root.starts_with(&config.data_dir) {
        all.extend(entries(&config.images.root));
    }
    all.retain(|path| !foreign.iter().any(|point| point.starts_with(path)));
    all.retain(|path| !is_kept(path) && path.file_name().is_none_or(|name| name != "corten.lock"));
    all
}

fn descend(directory: &Path, depth: usize, ids: &BTreeSet<String>, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        descend(&entry.path(), depth - 1, ids, found);
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| ids.iter().any(|id| name.contains(id.as_str()))) {
            found.push(entry.path());
        }
    }
}

/// The names in a directory; none where it is not there.
pub(super) fn names(directory: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn sockets_that_nobody_answers_on_are_to_go_also_that_of_plugins() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut config = Config {
            socket: path("cri.sock"),
            state_dir: path("run"),
            data_dir: path("lib"),
            ..Config::default()
        };
        config.nri.socket_path = path("nri.sock");
        drop(UnixListener::bind(path("nri.sock")).unwrap());
        let another = UnixListener::bind(path("cri.sock")).unwrap();
        let survey = Survey::take(&config, false);
        assert_eq!(survey.sockets, [path("nri.sock")]);
        assert!(survey.to_string().contains(&format!("socket {}\n", path("nri.sock").display())));
        drop(another);
        assert_eq!(Survey::take(&config, false).sockets, [path("cri.sock"), path("nri.sock")]);
    }

    #[test]
    fn pods_are_known_by_their_ids_also_without_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut config = Config { state_dir: path("run"), data_dir: path("lib"), ..Config::default() };
        config.network.state_dir = path("run/network");
        config.runtime.netns_dir = path("netns");
        let (one, two, container) = ("1".repeat(64), "2".repeat(64), "3".repeat(64));
        let (pods, attachments) = (path("run/pods"), path("run/network/attachments"));
        fs::create_dir_all(pods.join(&one).join("containers")).unwrap();
        fs::write(pods.join(&one).join(format!("containers/{container}.json")), "junk").unwrap();
        fs::create_dir_all(&attachments).unwrap();
        fs::write(attachments.join(format!("{two}-eth0.json")), "junk").unwrap();
        fs::create_dir(path("netns")).unwrap();
        let pin = |id: &str| path("netns").join(engine::netns_name(id));
        [&one, &two].iter().for_each(|id| fs::write(pin(id), "").unwrap());
        // Cgroups of others are called so.
        fs::create_dir_all(pods.join("system")).unwrap();
        fs::write(attachments.join("cpu-eth0.json"), "junk").unwrap();
        fs::create_dir_all(path("lib/containers/kubepods")).unwrap();
        let survey = Survey::take(&config, false);
        assert_eq!(Vec::from_iter(&survey.lost), [&one, &two]);
        assert_eq!(Vec::from_iter(&survey.ids), [&one, &two, &container]);
        assert_eq!(survey.pins, [pin(&one), pin(&two)]);
        assert!(
            survey.to_string().contains(&format!("pod (its record cannot be read) {two}, containers: 0\n"))
        );
    }
}
