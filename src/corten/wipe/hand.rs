//! Taking away by hand what nobody's record tells how to: processes, mounts, cgroups, bridges.

use std::path::Path;
use std::time::{Duration, Instant};
use sys::netlink::{Batch, Socket, link_infos};

/// How long processes may take to die of SIGKILL.
const DEATH: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Kills what is in a cgroup and removes it.
pub(super) fn cgroup(directory: &Path) -> Result<(), String> {
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

/// Kills a supervisor and waits for its end.
pub(super) fn process(pid: i32) -> Result<(), String> {
    // By a descriptor of that very process: its number may be another's by now.
    let Ok(process) = sys::process::pidfd_open(pid) else { return Ok(()) };
    let is_shim = std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.starts_with("corten-shim"));
    if !is_shim {
        return Ok(());
    }
    let killed = sys::process::signal(std::os::fd::AsFd::as_fd(&process), sys::process::SIGKILL);
    killed.map_err(|error| format!("process {pid}: {error}"))?;
    let begin = Instant::now();
    while std::fs::read_to_string(format!("/proc/{pid}/statm")).is_ok_and(|sizes| !sizes.starts_with("0 ")) {
        if begin.elapsed() >= DEATH {
            return Err(format!("process {pid} did not end within {} s of SIGKILL", DEATH.as_secs()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
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

/// Removes a bridge that has no ports; one with ports stays.
pub(super) fn bridge(name: &str) -> Result<(), String> {
    let failed = |error: sys::SysError| format!("bridge {name}: {error}");
    let socket = Socket::route().map_err(failed)?;
    let mut batch = Batch::new();
    batch.get_links();
    let links = link_infos(&socket.run(&mut batch).map_err(failed)?);
    let Some(index) = links.iter().find(|link| link.name == name).map(|link| link.index) else {
        return Ok(());
    };
    if links.iter().any(|link| link.master == Some(index)) {
        return Err(format!("bridge {name} has ports: pods of somebody are on it"));
    }
    let mut batch = Batch::new();
    batch.delete_link(name);
    socket.run(&mut batch).map(drop).map_err(failed)
}
