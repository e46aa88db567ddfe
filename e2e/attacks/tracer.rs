//! `/tracer` of an image: seizes every process that appears in its PID namespace, as early as it can, and says what it
//! could reach through it that is not a container's. Takes how many seconds it works, and device and number of the
//! host's null device.
//!
//! With `keyring` it says which session keyring it has instead.
//!
//! Images that it traces into have a file `/marker`, which tells their root directories from the host's.

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// So many numbers ahead are tried: they are handed out one by one.
const AHEAD: i32 = 8;

struct Host {
    null: (u64, u64),
    /// The procfs of this PID namespace, which the containers that are traced have too.
    procfs: u64,
}

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word == "keyring") {
        println!("{}", sys::keyring::session());
        return;
    }
    let mut arguments = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let mut next = || arguments.next().unwrap_or_default();
    let procfs = fs::metadata("/proc").map(|proc| proc.dev()).unwrap_or_default();
    let (seconds, host) = (next(), Host { null: (next(), next()), procfs });
    let end = Instant::now() + Duration::from_secs(seconds);
    let bounding = number("self", "CapBnd");
    let (mut last, mut seen, mut early) = (std::process::id().cast_signed(), 0, 0);
    println!("ready");
    while Instant::now() < end {
        for pid in last + 1..=last + AHEAD {
            if ptrace::seize(Pid::from_raw(pid), ptrace::Options::empty()).is_ok() {
                (last, seen) = (pid, seen + 1);
                if stop(pid) {
                    early += i32::from(look(pid, bounding, &host));
                }
                // Killed meanwhile: gone.
                let _ = ptrace::detach(Pid::from_raw(pid), None::<Signal>);
            }
        }
    }
    println!("seen {seen} early {early}");
}

/// Whether it stands still for as long as this process likes.
fn stop(pid: i32) -> bool {
    let pid = Pid::from_raw(pid);
    ptrace::interrupt(pid).is_ok()
        && matches!(
            waitpid(pid, Some(WaitPidFlag::__WALL)),
            Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..))
        )
}

/// Tells of everything that is none of a container's; whether the process was not its program yet.
fn look(pid: i32, bounding: u64, host: &Host) -> bool {
    let proc = format!("/proc/{pid}");
    let of_host = |what: &str| println!("reached {what} of {pid}");
    for name in ["root", "cwd"] {
        if fs::metadata(format!("{proc}/{name}/marker")).is_err() {
            of_host(name);
        }
    }
    if number("self", "Seccomp") != number(&pid.to_string(), "Seccomp") {
        of_host("calls without a filter");
    }
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        let held = number(&pid.to_string(), name);
        if held & !bounding != 0 {
            of_host(&format!("{name} {held:x}"));
        }
    }
    let own = fs::metadata(format!("{proc}/root/marker")).map(|marker| marker.dev()).ok();
    for entry in fs::read_dir(format!("{proc}/fd")).into_iter().flatten().flatten() {
        let Ok(found) = fs::metadata(entry.path()) else { continue };
        let kind = found.mode() & 0o170_000;
        // Pipes and sockets; files of the container, such as the libraries that its loader opens, and of its procfs.
        let harmless = match kind {
            0o010_000 | 0o140_000 => true,
            0o020_000 => (found.dev(), found.ino()) != host.null,
            _ => Some(found.dev()) == own || found.dev() == host.procfs,
        };
        if !harmless {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            of_host(&format!("descriptor {} {} {kind:o}", entry.file_name().display(), target.display()));
        }
    }
    // What has not been executed yet is the supervisor's program, which lies on no mount of the container's.
    fs::read_link(format!("{proc}/exe")).is_ok_and(|exe| exe.to_string_lossy().contains("corten"))
}

/// A number of a process's status, in hexadecimal digits.
fn number(process: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default()
}
