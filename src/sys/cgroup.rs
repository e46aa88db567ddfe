//! The side of cgroups that a supervisor needs while it launches and buries processes.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::{SysError, SysResult};

/// Moves the calling process, which must have one thread, into a cgroup by itself: `0` into `tasks` on v1
/// (where moving a process from outside waits for a grace period), into `cgroup.procs` on v2.
///
/// # Errors
/// The kernel's.
pub fn join_self(dir: &Path, file: &str) -> SysResult<()> {
    write(&dir.join(file), b"0", "join cgroup")
}

/// The v2 cgroup for a process beside the first one of a container: the container's, unless it hands controllers down and
/// so takes no processes itself. Then it is where the first process is, as with runc.
pub fn beside(dir: &Path, first: i32) -> PathBuf {
    let handed_down = fs::read(dir.join("cgroup.subtree_control"));
    if handed_down.is_ok_and(|text| !text.trim_ascii().is_empty())
        && let Ok(places) = fs::read(format!("/proc/{first}/cgroup"))
        && let Some(below) = below(dir, &places)
    {
        return below;
    }
    dir.to_path_buf()
}

/// Where a process is, from its `/proc/PID/cgroup`, as a path like that of a v2 cgroup above it; `None` when it is not
/// below that one.
fn below(dir: &Path, places: &[u8]) -> Option<PathBuf> {
    let place = places.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    let place = crate::fd::as_path(place);
    let known = place.ancestors().find(|above| !above.as_os_str().is_empty() && dir.ends_with(above))?;
    place.strip_prefix(known).ok().filter(|rest| !rest.as_os_str().is_empty()).map(|rest| dir.join(rest))
}

/// How often the kernel has killed a process of the cgroup for want of memory: `oom_kill` in v2's
/// `memory.events` or v1's `memory.oom_control`; 0 where neither exists.
pub fn oom_kills(dir: &Path) -> u64 {
    ["memory.events", "memory.oom_control"]
        .iter()
        .find_map(|name| fs::read_to_string(dir.join(name)).ok())
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()))
        .unwrap_or(0)
}

/// A descriptor that becomes urgent or readable when a cgroup runs out of memory: on v1 just before the kernel kills,
/// on v2 just after. To be emptied by [`drain`] each time.
///
/// # Errors
/// The kernel's; `ENOENT` where the cgroup has no memory controller.
pub fn watch_memory(dir: &Path) -> SysResult<OwnedFd> {
    let (v1, v2) = (dir.join("memory.oom_control"), dir.join("memory.events"));
    if let Ok(events) = fs::File::open(&v2) {
        let events = OwnedFd::from(events);
        // What has been counted until now is no news.
        drain(&events);
        return Ok(events);
    }
    let control = fs::File::open(&v1).map_err(SysError::io("open", &v1))?;
    // SAFETY: no pointers are passed, and the result is checked.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if event < 0 {
        return Err(SysError::new("eventfd", &v1, crate::last_errno()));
    }
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    let event = unsafe { OwnedFd::from_raw_fd(event) };
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    write(&dir.join("cgroup.event_control"), line.as_bytes(), "watch memory of cgroup")?;
    Ok(event)
}

/// Whether a descriptor of [`watch_memory`] is a control file, whose news is urgent rather than readable.
pub fn is_file(watch: impl AsFd) -> bool {
    nix::sys::stat::fstat(watch).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG)
}

/// Takes what has been announced off a descriptor of [`watch_memory`].
pub fn drain(watch: impl AsFd) {
    let mut buffer = [0; 512];
    // Only v2's is a file, which is read from its beginning.
    let _ = nix::unistd::lseek(&watch, 0, nix::unistd::Whence::SeekSet);
    let _ = nix::unistd::read(&watch, &mut buffer);
}

/// The processes of a cgroup and of those below it.
pub fn processes(dir: &Path) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for dir in tree(dir) {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        // A process outside of our PID namespace shows as 0, which kill(2) would take for ourselves.
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    found
}

/// A cgroup and everything below it, parents first.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![dir.to_path_buf()];
    let mut next = 0;
    while let Some(dir) = dirs.get(next) {
        let children: Vec<PathBuf> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        dirs.extend(children);
        next += 1;
    }
    dirs
}

/// Sends a signal to every process of a cgroup and of those below it, once. `true` when there was none.
pub fn signal_all(dir: &Path, signal: i32) -> bool {
    let found = processes(dir);
    for pid in &found {
        // A process that has ended in the meantime needs no signal.
        let _ = crate::process::kill(*pid, signal);
    }
    found.is_empty()
}

/// Kills everything in a cgroup and below it: v2's `cgroup.kill`, or else every process while the v1 freezer
/// (or v2's) keeps them from forking; frozen ones are thawed to die. `true` when nothing was there to kill.
pub fn kill_all(dir: &Path) -> bool {
    if write(&dir.join("cgroup.kill"), b"1", "kill cgroup").is_ok() {
        return processes(dir).is_empty();
    }
    // A freezer that is missing, as in a cgroup of another controller, makes it a race that a repetition wins.
    let _ = write(&dir.join("freezer.state"), b"FROZEN", "freeze cgroup");
    let empty = signal_all(dir, libc::SIGKILL);
    thaw(dir);
    empty
}

/// Lets the processes of a frozen v1 cgroup run, so that a signal reaches them; v2 kills frozen ones as well.
pub fn thaw(dir: &Path) {
    // Any other cgroup has no such file.
    let _ = write(&dir.join("freezer.state"), b"THAWED", "thaw cgroup");
}

/// Removes an empty cgroup and those below it.
///
/// # Errors
/// `EBUSY` while processes are in it. One that is gone already is no error.
pub fn remove(dir: &Path) -> SysResult<()> {
    for dir in tree(dir).iter().rev() {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SysError::io("remove cgroup", dir)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// One write to a control file.
fn write(path: &Path, text: &[u8], op: &'static str) -> SysResult<()> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text))
        .map_err(SysError::io(op, path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_process_that_moved_further_down_is_found() {
        let dir = Path::new("/sys/fs/cgroup/kubepods/pod1/ctr");
        let find = |places: &str| below(dir, places.as_bytes());
        let moved = Some(dir.join("init.scope"));
        assert_eq!(find("0::/kubepods/pod1/ctr/init.scope\n"), moved);
        assert_eq!(
            find("3:cpu:/x\n0::/kubepods/pod1/ctr/a/kubepods/pod1/ctr\n"),
            Some(dir.join("a/kubepods/pod1/ctr"))
        );
        for elsewhere in
            ["", "0::/\n", "0::/kubepods/pod1/ctr\n", "0::/kubepods/pod2/ctr/x\n", "0::/../x/ctr\n"]
        {
            assert_eq!(find(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn oom_kills_are_read_from_either_version() {
        let dir = std::env::temp_dir().join(format!("corten-sys-cgroup-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(oom_kills(&dir), 0);
        fs::write(dir.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
        assert_eq!(oom_kills(&dir), 2);
        fs::write(dir.join("memory.events"), "low 0\nhigh 0\nmax 4\noom 1\noom_kill 3\n").unwrap();
        assert_eq!(oom_kills(&dir), 3);
        fs::remove_dir_all(dir).unwrap();
    }
}
