//! What procfs says of a process.

use crate::error::{Context, Error};
use std::fs;

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

/// How many descriptors it has open.
///
/// # Errors
/// When there is no such process.
pub fn descriptors(pid: i32) -> Result<usize, Error> {
    let path = format!("/proc/{pid}/fd");
    fs::read_dir(&path).map(Iterator::count).at("read", &path)
}

/// The fields of `/proc/PID/stat` behind the name, while there is such a process: its state is the first, its parent the next.
pub fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
