//! `make cluster-down`: ends what `make cluster` began, in whatever state it is.

use crate::cluster::{LINK, MARK, directory, end, holds};
use e2e::error::Context;
use e2e::isolation::Sweeper;
use e2e::{Error, command, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Ends the cluster; one that is not there is ended already.
///
/// # Errors
/// When its directory cannot be removed.
pub(crate) fn down() -> Result<(), Error> {
    let directory = directory();
    let text = fs::read_to_string(directory.join("pid")).unwrap_or_default();
    // Before its end, as threads and namespaces cannot be found by it afterwards.
    let holder = text.trim().parse::<i32>().ok().filter(|pid| holds(*pid));
    let sweepers = sweepers(holder);
    if let Some(pid) = holder
        && !end(pid)
    {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    sweepers.iter().for_each(Sweeper::sweep);
    if let Ok(ip) = tools::system("ip") {
        // It went with the namespace at its other end, as a rule.
        let _ = command::finish(Command::new(ip).args(["link", "delete", LINK]), Duration::from_secs(5));
    }
    if directory.exists() {
        fs::remove_dir_all(&directory).at("remove", &directory)?;
    }
    Ok(())
}

/// What ends the isolations that the holder's threads are in, and those of processes that it has left behind.
fn sweepers(holder: Option<i32>) -> Vec<Sweeper> {
    let own = fs::read_link("/proc/self/ns/mnt").unwrap_or_default();
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for place in places(holder) {
        let Ok(namespace) = fs::read_link(place.join("ns/mnt")) else { continue };
        if namespace == own || seen.contains(&namespace) {
            continue;
        }
        seen.push(namespace.clone());
        let mounts = fs::read_to_string(place.join("mountinfo")).unwrap_or_default();
        // A node beside the first has that one's directory too, mounted before its own.
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        if let Some(root) = points.rfind(|point| is_root(point)) {
            found.push(Sweeper::new(Path::new(root), &namespace));
        }
    }
    found
}

/// Directories of threads and processes below /proc.
fn places(holder: Option<i32>) -> Vec<PathBuf> {
    let below = |path: &str| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let tasks = holder.map(|pid| format!("/proc/{pid}/task"));
    let threads = tasks.iter().flat_map(|path| below(path));
    let marked = below("/proc").filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|word| word == format!("{MARK}=1").as_bytes())
    });
    threads.chain(marked).collect()
}

fn is_root(point: &str) -> bool {
    point.strip_prefix("/run/ce-").is_some_and(|rest| !rest.contains('/'))
}
