//! Taking away by hand what nobody's record tells how to: processes, mounts, cgroups, bridges.

use super::supervisors::{self, DEATH, LOOK_AGAIN, Supervisor};
use super::{AT_ONCE, survey};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sys::netlink::{Batch, Socket, link_infos};

/// How long the kernel may take to destroy a network namespace, and with it a port.
const PORTS: Duration = Duration::from_secs(3);

/// Ends these supervisors and all that is in the cgroups of these pods and containers, and removes the cgroups. What
/// supervisors have started is killed before them: nothing but they tell of it where there are no records.
pub(super) fn processes<'a>(
    supervisors: impl Iterator<Item = &'a Supervisor>,
    ids: &BTreeSet<String>,
) -> Vec<String> {
    for directory in survey::cgroups(ids) {
        sys::cgroup::kill_all(&directory);
    }
    let mut failures = supervisors::kill(supervisors);
    failures.extend(side_by_side(&survey::cgroups(ids), |directory| cgroup(directory).err()));
    failures
}

/// Does work that waits, some at a time; returns what it says.
pub(super) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Option<R> + Sync) -> Vec<R> {
    let (next, work) = (AtomicUsize::new(0), &work);
    let worker = || {
        let taken = std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed)));
        taken.filter_map(work).collect::<Vec<R>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE.min(items.len())).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    })
}

/// Kills what is in a cgroup and removes it.
fn cgroup(directory: &Path) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        sys::cgroup::kill_all(directory);
        sys::cgroup::thaw(directory);
        match sys::cgroup::remove(directory) {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() >= DEATH => return Err(format!("cgroup {error}")),
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

/// Detaches a mount; one that has gone is fine.
pub(super) fn mount(point: &Path) -> Result<(), String> {
    match sys::mount::detach(point.as_os_str().as_encoded_bytes()) {
        Err(error) if point.exists() && is_mounted(point) => Err(format!("mount {error}")),
        _ => Ok(()),
    }
}

fn is_mounted(point: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|found| Path::new(found) == point))
}

/// Removes directories of cgroups that were made for pods and that nobody is in. Slices are systemd's to end.
pub(super) fn made_cgroups(made: &BTreeSet<PathBuf>) {
    let is_slice = |path: &Path| path.extension().is_some_and(|extension| extension == "slice");
    // The deepest first. One that somebody uses stays.
    for directory in made.iter().rev().filter(|path| path.starts_with(survey::CGROUPS) && !is_slice(path)) {
        let _ = std::fs::remove_dir(directory);
    }
}

/// Removes a bridge that has no ports; one with ports stays.
pub(super) fn bridge(name: &str) -> Result<(), String> {
    let failed = |error: sys::SysError| format!("bridge {name}: {error}");
    let socket = Socket::route().map_err(failed)?;
    let begin = Instant::now();
    loop {
        let mut batch = Batch::new();
        batch.get_links();
        let links = link_infos(&socket.run(&mut batch).map_err(failed)?);
        let Some(index) = links.iter().find(|link| link.name == name).map(|link| link.index) else {
            return Ok(());
        };
        if !links.iter().any(|link| link.master == Some(index)) {
            break;
        }
        if begin.elapsed() >= PORTS {
            return Err(format!("bridge {name} has ports: pods of somebody are on it"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let mut batch = Batch::new();
    batch.delete_link(name);
    socket.run(&mut batch).map(drop).map_err(failed)
}
