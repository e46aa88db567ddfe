//! The side of cgroups that a supervisor needs while it launches and buries processes.

use nix::fcntl::AT_FDCWD;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fd::c_string;
use crate::tree::Trail;
use crate::{SysError, SysResult};

/// Cgroups that lie deeper are not removed: the names of the way down are kept.
const DEEPEST: usize = 1 << 16;

/// Moves the calling process, which must have one thread, into a cgroup by itself: `0` into `tasks` on v1
/// (where moving a process from outside waits for a grace period), into `cgroup.procs` on v2.
///
/// # Errors
/// The kernel's.
pub fn join_self(dir: &Path, file: &str) -> SysResult<()> {
    write(&dir.join(file), b"0", "join cgroup")
}

/// Moves a process into a cgroup, by `tasks` on v1 or `cgroup.procs` on v2.
///
/// # Errors
/// The kernel's.
pub fn join(dir: &Path, file: &str, pid: i32) -> SysResult<()> {
    write(&dir.join(file), pid.to_string().as_bytes(), "join cgroup")
}

/// The cgroup above all others that are seen.
pub fn outermost(dir: &Path) -> PathBuf {
    let above = dir.ancestors().take_while(|above| above.join("cgroup.procs").exists());
    above.last().unwrap_or(dir).to_path_buf()
}

/// The calling process's own v2 cgroup, below the outermost.
pub fn own_v2(outermost: &Path) -> Option<PathBuf> {
    let places = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = places.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(outermost.join(own))
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
    let mut buffer = [0; 1024];
    let read = ["memory.events", "memory.oom_control"].iter().find_map(|name| {
        let mut file = fs::File::open(dir.join(name)).ok()?;
        file.read(&mut buffer).ok()
    });
    let text = read.and_then(|length| std::str::from_utf8(buffer.get(..length)?).ok()).unwrap_or_default();
    let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    kills.unwrap_or(0)
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
    each(dir, |here| members(here, &mut found));
    found
}

/// Looks at a cgroup, and then at those below it.
fn each(dir: &Path, mut look: impl FnMut(BorrowedFd<'_>)) {
    let Ok(mut trail) = Trail::open(dir) else { return };
    look(trail.here());
    loop {
        match trail.read() {
            Ok(Some(name)) if name.may_be_directory() => {
                // One that is gone has nothing to be seen.
                if trail.enter(name.as_c_str()).is_ok() {
                    look(trail.here());
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                if matches!(trail.leave(), Ok(false)) {
                    return;
                }
            }
        }
    }
}

fn members(dir: BorrowedFd<'_>, found: &mut BTreeSet<i32>) {
    let mut text = String::new();
    if let Ok(file) = crate::resolve::open_beneath(dir, b"cgroup.procs", libc::O_RDONLY) {
        // One that is removed meanwhile has none.
        let _ = fs::File::from(file).read_to_string(&mut text);
    }
    // A process outside of our PID namespace shows as 0, which kill(2) would take for ourselves.
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
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

/// Lets the processes of a frozen v1 cgroup and of those below it run, so that a signal reaches them: a container may have
/// frozen some itself. v2 kills frozen ones as well.
pub fn thaw(dir: &Path) {
    if !dir.join("freezer.state").exists() {
        // Any other cgroup has no such file.
        return;
    }
    each(dir, |here| {
        if let Ok(state) = crate::resolve::open_beneath(here, b"freezer.state", libc::O_WRONLY) {
            // One that is removed meanwhile has no processes.
            let _ = fs::File::from(state).write_all(b"THAWED");
        }
    });
}

/// Whether no process is in a v2 cgroup, none below it, and nobody has frozen it; not known of one of v1.
pub fn is_idle(dir: &Path) -> bool {
    let mut buffer = [0; 64];
    let read = fs::File::open(dir.join("cgroup.events")).and_then(|mut events| events.read(&mut buffer));
    // Before Linux 5.2 nothing is said of freezing.
    let idle = [b"populated 0\n".as_slice(), b"populated 0\nfrozen 0\n"];
    read.is_ok_and(|length| buffer.get(..length).is_some_and(|text| idle.contains(&text)))
}

/// Removes an empty cgroup and those below it.
///
/// # Errors
/// `EBUSY` while processes are in it. One that is gone already is no error.
pub fn remove(dir: &Path) -> SysResult<()> {
    let failed = |errno: nix::Error| SysError::nix("remove cgroup", dir)(errno);
    let path = c_string("remove cgroup", dir.as_os_str().as_bytes())?;
    if gone(AT_FDCWD, &path).is_ok() {
        return Ok(());
    }
    let mut trail = match Trail::open(dir) {
        Err(error) if error.is_absent() => return Ok(()),
        trail => trail?,
    };
    let mut names: Vec<CString> = Vec::new();
    loop {
        match trail.read()? {
            Some(name) if name.may_be_directory() => {
                if gone(trail.here(), name.as_c_str()).is_err() {
                    if names.len() >= DEEPEST {
                        return Err(failed(nix::Error::ENAMETOOLONG));
                    }
                    match trail.enter(name.as_c_str()) {
                        Err(error) if error.is_absent() => {}
                        entered => entered.map(|()| names.push(name.as_c_str().to_owned()))?,
                    }
                }
            }
            Some(_) => {}
            None if trail.leave()? => {
                if let Some(name) = names.pop() {
                    gone(trail.here(), &name).map_err(failed)?;
                }
            }
            None => return gone(AT_FDCWD, &path).map_err(failed),
        }
    }
}

/// Removes a cgroup without others in it; one that is gone already is no error.
fn gone(parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(nix::Error::ENOENT) => Ok(()),
        done => done,
    }
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
    fn cgroups_of_any_depth_are_read_and_removed() {
        // Only the names of directories matter here, so that any filesystem does.
        let dir = crate::tree::tests::scratch("cgroups");
        let deepest = crate::tree::tests::chain(&dir, b"c", 3000);
        assert!(processes(&dir).is_empty());
        remove(&dir).unwrap();
        assert!(!dir.exists());
        remove(&dir).unwrap();
        drop(deepest);
        let dir = crate::tree::tests::scratch("busy");
        let deepest = crate::tree::tests::chain(&dir, b"c", 3000);
        let file = crate::resolve::open_or_create(deepest.as_fd(), b"x", false).unwrap();
        fs::write(dir.join("c/cgroup.procs"), "0\n17\n").unwrap();
        fs::write(dir.join("cgroup.procs"), "4\n").unwrap();
        assert_eq!(processes(&dir), BTreeSet::from([4, 17]));
        assert!(remove(&dir).unwrap_err().to_string().starts_with("remove cgroup"));
        drop(file);
        crate::tree::remove(&dir).unwrap();
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
