//! What procfs says of a process.

use crate::error::{Context, Error};
use std::fs;
use std::time::Duration;

/// A figure of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
///
/// # Errors
/// When there is no such process, or no such figure of it.
pub fn memory(pid: i32, figure: &str) -> Result<u64, Error> {
    kibibytes(&format!("/proc/{pid}/status"), figure)
}

/// The same of `/proc/PID/smaps_rollup`, which counts each page anew: `Rss`, `Pss`, `Anonymous`.
///
/// # Errors
/// As [`memory`].
pub fn counted(pid: i32, figure: &str) -> Result<u64, Error> {
    kibibytes(&format!("/proc/{pid}/smaps_rollup"), figure)
}

fn kibibytes(path: &str, figure: &str) -> Result<u64, Error> {
    let text = fs::read_to_string(path).at("read", path)?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == figure).then(|| value.split_whitespace().next()?.parse().ok()).flatten()
    });
    value.ok_or_else(|| std::io::Error::other(format!("it has no {figure}"))).at("read", path)
}

/// How many descriptors it has open; of a daemon without those by which it holds supervisors that wait for a pod, of which
/// there are now more and now fewer: of each a socket, and the process twice.
///
/// # Errors
/// When there is no such process.
pub fn descriptors(pid: i32) -> Result<usize, Error> {
    let count = || {
        let path = format!("/proc/{pid}/fd");
        let open = fs::read_dir(&path).map(Iterator::count).at("read", &path)?;
        Ok(open.saturating_sub(3 * waiting(pid)))
    };
    let mut last = count()?;
    // While one is being started, it has now more of them and now less.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        let now = count()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

/// How many supervisors a daemon has started ahead that wait for a pod.
fn waiting(daemon: i32) -> usize {
    let line = format!("corten-shim\0{}\0", wire::naming::NAMELESS).into_bytes();
    let path = format!("/proc/{daemon}/task");
    let threads = fs::read_dir(path).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let is_one = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|seen| seen == line);
    children.map(|pids| pids.split_whitespace().filter(|pid| is_one(pid)).count()).sum()
}

/// The fields of `/proc/PID/stat` behind the name, while there is such a process: its state is the first, its parent the next.
pub fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
