//! Supervisors that live, found by `/proc` alone: also those that no record tells of.

use super::greeting::Greeted;
use super::native::{SHIM_NAME, dial};
use crate::record::PodFiles;
use crate::settings::Paths;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// A supervisor that lived when it was looked for.
#[derive(Debug)]
pub struct LivingSupervisor {
    /// Its process id.
    pub pid: i32,
    /// Its pod, as its arguments have it.
    pub pod: String,
    process: OwnedFd,
}

impl LivingSupervisor {
    /// All of this host, also those of other daemons. A pidfd, opened before their arguments are read again, is of nothing
    /// else.
    pub fn all() -> impl Iterator<Item = Self> {
        let names = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = names.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| {
            let (raw, pod) = (Pid::from_raw(pid)?, pod_of(pid)?);
            let process = pidfd_open(raw, PidfdFlags::empty()).ok()?;
            (pod_of(pid)? == pod).then_some(Self { pid, pod, process })
        })
    }

    /// The file that it reports to, which tells whose it is; with ` (deleted)` behind it where that is gone.
    ///
    /// # Errors
    /// The kernel's, where it has ended.
    pub fn log(&self) -> std::io::Result<PathBuf> {
        fs::read_link(format!("/proc/{}/fd/2", self.pid))
    }

    /// Whether it says in time what runs in its pod. This blocks.
    pub fn answers(&self, paths: &Paths, limit: Duration) -> bool {
        let stream = dial(&PodFiles::new(paths, &self.pod));
        stream.is_ok_and(|stream| Greeted::blocking(&self.pod, stream, limit).is_ok())
    }

    /// Kills it; one that has ended is fine.
    ///
    /// # Errors
    /// The kernel's.
    pub fn kill(&self) -> std::io::Result<()> {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it lives still.
    pub fn lives(&self) -> bool {
        pod_of(self.pid).is_some_and(|pod| pod == self.pod)
    }

    pub(super) fn into_pidfd(self) -> OwnedFd {
        self.process
    }
}

/// The arguments of a supervisor are its name and its pod; one that is dying has none.
fn pod_of(pid: i32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let pod = line.strip_prefix(SHIM_NAME.as_bytes())?.strip_prefix(b"\0")?.strip_suffix(b"\0")?;
    let is_one_word = !pod.is_empty() && !pod.contains(&0);
    String::from_utf8(pod.to_vec()).ok().filter(|_| is_one_word)
}
