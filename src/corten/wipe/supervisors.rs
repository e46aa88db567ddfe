//! Supervisors of this state directory, and what they run, by what the kernel says of processes: also where no record is
//! left.

use super::survey::{is_id, names};
use engine::LivingSupervisor;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes may take to die of SIGKILL.
pub(super) const DEATH: Duration = Duration::from_secs(10);
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What the kernel puts behind the name of a file that is gone.
const DELETED: &str = " (deleted)";

/// A supervisor that lives, and the ids of the containers whose processes it has started.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) process: LivingSupervisor,
    pub(super) containers: BTreeSet<String>,
}

/// Those of these pods, and those that report to a file of this state directory: others are of other daemons.
pub(super) fn find(state: &Path, pods: &BTreeSet<String>) -> Vec<Supervisor> {
    let directories = [state.to_owned(), resolved(state)].map(|directory| directory.join("pods"));
    let is_ours = |found: &LivingSupervisor| {
        let log = found.log().unwrap_or_default();
        pods.contains(&found.pod)
            || directories.iter().any(|directory| is_log(&log, &directory.join(&found.pod)))
    };
    let found: Vec<LivingSupervisor> =
        LivingSupervisor::all().filter(|found| is_id(&found.pod) && is_ours(found)).collect();
    if found.is_empty() {
        return Vec::new();
    }
    let children = children();
    let with_containers = |process: LivingSupervisor| {
        let containers = containers(&process, &children);
        Supervisor { process, containers }
    };
    found.into_iter().map(with_containers).collect()
}

/// The kernel tells paths without links; the directory may be gone.
fn resolved(state: &Path) -> PathBuf {
    let above = || Some(fs::canonicalize(state.parent()?).ok()?.join(state.file_name()?));
    fs::canonicalize(state).ok().or_else(above).unwrap_or_else(|| state.to_owned())
}

fn is_log(link: &Path, pod: &Path) -> bool {
    let text = link.to_string_lossy();
    Path::new(text.strip_suffix(DELETED).unwrap_or(&text)) == pod.join("shim.log")
}

/// Processes by their parents.
fn children() -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in names(Path::new("/proc")).filter_map(|name| name.parse::<i32>().ok()) {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before may hold blanks and brackets.
        let parent = line.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    children
}

fn containers(supervisor: &LivingSupervisor, children: &HashMap<i32, Vec<i32>>) -> BTreeSet<String> {
    let cgroups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = cgroups(supervisor.pid);
    let mut found = BTreeSet::new();
    let (mut left, mut seen) = (vec![supervisor.pid], BTreeSet::new());
    while let Some(parent) = left.pop() {
        for pid in children.get(&parent).into_iter().flatten().filter(|pid| seen.insert(**pid)) {
            found.extend(ids_below(&supervisor.pod, &own, &cgroups(*pid)));
            left.push(*pid);
        }
    }
    found
}

/// The ids by which the cgroups of a process are called, no further up than its pod's: what is above may be called by an
/// id, too, where all of this runs in somebody's container.
fn ids_below(pod: &str, supervisor: &str, process: &str) -> BTreeSet<String> {
    let place = |line: &str| {
        line.rsplit_once(":/").map(|(hierarchy, path)| (hierarchy.to_owned(), format!("/{path}")))
    };
    let tops: HashMap<String, String> = supervisor.lines().filter_map(place).collect();
    let mut ids = BTreeSet::new();
    for (hierarchy, path) in process.lines().filter_map(place) {
        let Some(own) = tops.get(&hierarchy).map(Path::new) else { continue };
        // It has one for itself in the pod, or beside it, or is in the pod's.
        let is_its_own = own.file_name().and_then(|name| name.to_str());
        let is_its_own = is_its_own.is_some_and(|name| name == "supervisor" || name.contains(pod));
        let top = if is_its_own { own.parent().unwrap_or(own) } else { own };
        let Ok(below) = Path::new(&path).strip_prefix(top) else { continue };
        let first = below.iter().take(2).filter_map(|name| name.to_str());
        ids.extend(first.filter(|name| is_id(name)).map(str::to_owned));
    }
    ids
}

/// Kills them all, then waits for their ends.
pub(super) fn kill<'a>(supervisors: impl Iterator<Item = &'a Supervisor>) -> Vec<String> {
    let mut failures = Vec::new();
    let mut left: Vec<&LivingSupervisor> = Vec::new();
    for process in supervisors.map(|supervisor| &supervisor.process) {
        match process.kill() {
            Ok(()) => left.push(process),
            Err(error) => failures.push(format!("process {}: {error}", process.pid)),
        }
    }
    let begin = Instant::now();
    while begin.elapsed() < DEATH && !left.is_empty() {
        left.retain(|process| process.lives());
        if !left.is_empty() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    let living = left.into_iter();
    failures.extend(living.map(|process| {
        format!("process {} did not end within {} s of SIGKILL", process.pid, DEATH.as_secs())
    }));
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_by_cgroups_below_the_pod_and_no_other() {
        let (pod, one, outer) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let below = |supervisor: &str, process: &str| {
            let lines = |path: &str| format!("9:name=systemd:{path}\n0::{path}\n");
            Vec::from_iter(ids_below(&pod, &lines(supervisor), &lines(process)))
        };
        for (supervisor, process) in [
            ("/kubepods/pod1".to_owned(), format!("/kubepods/pod1/{one}/nested/{outer}")),
            (format!("/docker/{outer}/kubepods/pod1"), format!("/docker/{outer}/kubepods/pod1/{one}")),
            (format!("/kubepods/pod1/{pod}"), format!("/kubepods/pod1/{one}")),
            (format!("/kubepods/corten{pod}"), format!("/kubepods/pod1/{one}")),
            (format!("/a.slice/corten-{pod}.scope/supervisor"), format!("/a.slice/corten-{pod}.scope/{one}")),
        ] {
            assert_eq!(below(&supervisor, &process), [one.as_str()], "{supervisor} {process}");
        }
        assert_eq!(below(&format!("/corten/{pod}"), &format!("/corten/{pod}/{one}")), [pod.as_str(), &one]);
        assert!(below("/kubepods/pod1", &format!("/docker/{outer}")).is_empty(), "it is beside the pod");
        assert!(below(&format!("/docker/{outer}"), &format!("/docker/{outer}")).is_empty());
    }

    #[test]
    fn the_log_of_a_supervisor_tells_its_state_directory() {
        let pod = Path::new("/run/corten/pods/ab");
        for (link, is_ours) in [
            ("/run/corten/pods/ab/shim.log", true),
            ("/run/corten/pods/ab/shim.log (deleted)", true),
            ("/run/other/pods/ab/shim.log", false),
            ("/run/corten/pods/cd/shim.log (deleted)", false),
            ("/dev/null", false),
            ("", false),
        ] {
            assert_eq!(is_log(Path::new(link), pod), is_ours, "{link}");
        }
    }
}
