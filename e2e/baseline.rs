//! What a host looks like, and what differs between two looks.

use crate::error::Error;
use crate::isolation::{Isolation, cgroup_directories};
use crate::runtime::Daemon;
use crate::{command, tools};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Mounts, namespaces, links, rules, cgroups, address leases, processes, files, and the daemon's descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, Counts>);

/// How often each line is there.
type Counts = BTreeMap<String, usize>;

impl Snapshot {
    /// Looks at the scenario's part of the host.
    ///
    /// # Errors
    /// When `ip` or `nft` fails.
    pub fn take(isolation: &Isolation, daemon: &Daemon) -> Result<Self, Error> {
        let root = isolation.root();
        let parts = [
            ("mount", mounts()),
            ("netns", names(Path::new("/run/netns"))),
            ("link", links()?),
            ("nft", rules()?),
            ("cgroup", cgroups(isolation)),
            (
                "process",
                counted(isolation.processes().into_iter().map(|(pid, line)| format!("{pid} {line}"))),
            ),
            ("file", files(root)),
            ("cni", files(Path::new("/var/lib/cni"))),
            ("fd", descriptors(isolation, daemon.pid())),
        ];
        Ok(Self(parts.into()))
    }

    /// Looks until nothing changes any more: a pod's link goes with its network namespace, which the kernel clears up
    /// behind the caller's back.
    ///
    /// # Errors
    /// As [`Snapshot::take`].
    pub fn take_at_rest(isolation: &Isolation, daemon: &Daemon) -> Result<Self, Error> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut last = Self::take(isolation, daemon)?;
        let mut same = 0;
        while (same < 3 || last.has_pod_links()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
            let now = Self::take(isolation, daemon)?;
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    fn has_pod_links(&self) -> bool {
        self.0.get("link").is_some_and(|links| links.keys().any(|link| link.starts_with("veth")))
    }

    /// Without a part that a scenario changes on purpose.
    #[must_use]
    pub fn without(mut self, part: &str) -> Self {
        self.0.remove(part);
        self
    }

    /// Looks until the host is as it was in this snapshot.
    ///
    /// # Errors
    /// When it is not after 10 s (invariant I4).
    pub fn settle(&self, isolation: &Isolation, daemon: &Daemon) -> Result<(), Error> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let difference = self.difference(&Self::take(isolation, daemon)?);
            if difference.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Leftovers { difference });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn difference(&self, now: &Self) -> String {
        let mut text = String::new();
        for (part, before) in &self.0 {
            let after = now.0.get(part).cloned().unwrap_or_default();
            for line in before.keys().chain(after.keys().filter(|line| !before.contains_key(*line))) {
                let count = |counts: &Counts| counts.get(line).copied().unwrap_or_default();
                let (was, is) = (count(before), count(&after));
                // Fewer are no leak where others than the daemon have a hand in it: descriptors of connections from
                // before, mounts that the host's own processes took away.
                if is > was || (is < was && !["fd", "mount"].contains(part)) {
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{part}: {line}: {was} before, {is} now");
                }
            }
        }
        text
    }
}

/// The mount table without ids, peer groups and order.
fn mounts() -> Counts {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    counted(text.lines().map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let end = fields.iter().position(|field| *field == "-").unwrap_or(fields.len());
        let (point, tail) = (fields.get(3..5).unwrap_or_default(), fields.get(end..).unwrap_or_default());
        format!("{} {}", point.join(" "), tail.join(" "))
    }))
}

fn links() -> Result<Counts, Error> {
    let mut ip = Command::new(tools::system("ip")?);
    let text = command::run(ip.args(["-o", "link"]), Duration::from_secs(60))?;
    // Those that wait for a pod come and go behind others, and are told apart by what is written at them.
    let of_pods = text.lines().filter(|line| !line.contains("waits for a pod"));
    // The first field is an index, and what follows the name changes with the bridge's ports.
    Ok(counted(of_pods.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned)))
}

fn rules() -> Result<Counts, Error> {
    let mut nft = Command::new(tools::system("nft")?);
    let text = command::run(nft.args(["list", "ruleset"]), Duration::from_secs(60))?;
    Ok(counted(text.lines().map(|line| {
        // Counters count on.
        let words: Vec<_> = line.split_whitespace().collect();
        let mut kept = Vec::new();
        let mut index = 0;
        while index < words.len() {
            if words[index] == "packets" || words[index] == "bytes" {
                index += 2;
                continue;
            }
            kept.push(words[index]);
            index += 1;
        }
        kept.join(" ")
    })))
}

fn cgroups(isolation: &Isolation) -> Counts {
    let parent = isolation.cgroup_parent();
    let found = cgroup_directories(&parent);
    // The parent itself stays: the kubelet's would too.
    let found = found.iter().filter(|path| !path.ends_with(parent.trim_start_matches('/')));
    counted(found.map(|path| path.display().to_string()))
}

fn names(directory: &Path) -> Counts {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    counted(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()))
}

/// Every path below a directory, but for logs (the kubelet's to remove), sockets' clients, the runtimes' own
/// databases and images, and the note of host-local about the last address.
fn files(directory: &Path) -> Counts {
    let mut found = Counts::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // What images leave that stay is no trace.
            let images = ["io.containerd.content.v1.content", "blobs", "layers", "outlines", "ingest"];
            let skipped = [&["logs", "registry"][..], &images].concat();
            if skipped.contains(&name.as_str()) || name.starts_with("last_reserved_ip") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.insert(entry.path().display().to_string(), 1);
        }
    }
    found
}

/// Most network namespaces that wait for a pod.
const NAMESPACES: usize = 8;

/// What the daemon's descriptors point at, with numbers that change from one to the next left out, and those by which it
/// holds what waits for a pod, of which there is now more and now less: of each supervisor a socket, and its process twice, of
/// each network namespace itself and a socket.
fn descriptors(isolation: &Isolation, pid: i32) -> Counts {
    let mut found = open_files(pid);
    let waiting = isolation.waiting().into_values().filter(|daemon| *daemon == Some(pid)).count();
    let namespaces = found.get("net").copied().unwrap_or_default().min(NAMESPACES);
    let processes = if found.contains_key("pidfd") { "pidfd" } else { "anon_inode" };
    for (kind, count) in [("socket", waiting + namespaces), ("net", namespaces), (processes, 2 * waiting)] {
        if let Some(open) = found.get_mut(kind) {
            *open = open.saturating_sub(count);
        }
    }
    found.retain(|_, count| *count > 0);
    found
}

fn open_files(pid: i32) -> Counts {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    counted(entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?.display().to_string();
        Some(match target.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => target,
        })
    }))
}

fn counted(lines: impl Iterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for line in lines {
        *counts.entry(line).or_insert(0) += 1;
    }
    counts
}
