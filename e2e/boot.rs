//! A node that goes down and boots, as far as one can within namespaces: its processes, mounts, network namespaces, links, packet
//! rules and cgroups are gone, and so is the runtime state; what is durable stays, and the kernel tells another boot.

use crate::error::{Context, Error};
use crate::isolation::{Isolation, cgroup_directories};
use crate::runtime::Daemon;
use crate::{command, tools, wait};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes everything away that does not outlive a machine, but for processes that are spared, of which the test's own are some;
/// and what is mounted at `mounts`, or below.
///
/// # Errors
/// When something does not go.
pub fn goes_down(
    daemon: &mut Daemon,
    isolation: &Isolation,
    spared: &[i32],
    mounts: &[PathBuf],
) -> Result<(), Error> {
    daemon.kill()?;
    let others = || {
        let mut processes = isolation.processes();
        processes.retain(|pid, _| !spared.contains(pid));
        processes
    };
    wait::until("the end of all processes", PATIENCE, || {
        for pid in others().keys() {
            // Gone already is as good.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        others().is_empty()
    })?;
    let place = daemon.place();
    let namespaces = entries("/run/netns")?;
    let own = [place.state.clone(), place.data.clone(), PathBuf::from(BOOT_ID)];
    unmount(&[&own, mounts, &namespaces].concat())?;
    for namespace in &namespaces {
        fs::remove_file(namespace).at("remove", namespace)?;
    }
    fs::remove_dir_all(&place.state).at("remove", &place.state)?;
    wait::until("the end of all cgroups", PATIENCE, || {
        cgroup_directories(&isolation.cgroup_parent())
            .iter()
            .all(|directory| fs::remove_dir(directory).is_ok())
    })?;
    forget_the_network()
}

/// Begins the boot of this number, whose identification no other boot has; the daemon is the caller's to start.
///
/// # Errors
/// When the kernel's own identification cannot be covered.
pub fn comes_up(isolation: &Isolation, boot: u64) -> Result<(), Error> {
    let id = isolation.root().join("boot-id");
    fs::write(&id, format!("00000000-0000-4000-8000-{boot:012}\n")).at("write", &id)?;
    mount(Some(&id), BOOT_ID, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|source| Error::System { operation: "mount", source })
}

fn entries(directory: &str) -> Result<Vec<PathBuf>, Error> {
    Ok(fs::read_dir(directory).at("read", directory)?.flatten().map(|entry| entry.path()).collect())
}

/// What is mounted at these places or below them, the last first.
fn unmount(places: &[PathBuf]) -> Result<(), Error> {
    let table = "/proc/thread-self/mountinfo";
    let table = fs::read_to_string(table).at("read", table)?;
    let mounted: Vec<&Path> =
        table.lines().filter_map(|line| line.split(' ').nth(4).map(Path::new)).collect();
    for place in mounted.iter().rev().filter(|at| places.iter().any(|place| at.starts_with(place))) {
        umount2(*place, MntFlags::MNT_DETACH)
            .map_err(|source| Error::System { operation: "unmount", source })?;
    }
    Ok(())
}

/// Bridges and packet rules; a pod's link goes with its namespace.
fn forget_the_network() -> Result<(), Error> {
    let run = |program, arguments: &[&str]| {
        command::run(Command::new(tools::system(program)?).args(arguments), PATIENCE)
    };
    for line in run("ip", &["-o", "link", "show", "type", "bridge"])?.lines() {
        if let Some(name) = line.split_whitespace().nth(1) {
            run("ip", &["link", "delete", name.trim_end_matches(':')])?;
        }
    }
    run("nft", &["flush", "ruleset"]).map(drop)
}
