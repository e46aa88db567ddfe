//! `kill`: a signal to the first process, or to all.

use std::os::fd::AsFd;

use oci::cgroup::Host;
use sys::fd::errno;
use sys::process::SIGKILL;

use crate::args;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::state::{Dir, Record};
use crate::status::Status;

/// Sends a signal. SIGKILL reaches frozen processes too, and all of a container whose first process is not PID 1.
pub(crate) fn kill(context: &Context<'_>, args: &args::Kill) -> Result<()> {
    let signal = args.signal.get();
    let (dir, record) = Dir::open(&context.global.root, &args.id)?;
    let host = Host::detect()?;
    if args.all {
        return all(&host, &record, signal);
    }
    if dir.status(&record, None) == Status::Stopped {
        return Err(Error::NotRunning);
    }
    send(&host, &record, signal)
}

/// To every process of the container; none is fine.
fn all(host: &Host, record: &Record, signal: i32) -> Result<()> {
    let cgroup = record.cgroup()?;
    if signal == SIGKILL {
        return Ok(host.kill(&cgroup)?);
    }
    for pid in host.procs(&cgroup) {
        match sys::process::kill(pid, signal) {
            Err(error) if error.errno != errno::ESRCH => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn send(host: &Host, record: &Record, signal: i32) -> Result<()> {
    let pidfd = record.pidfd()?;
    match sys::process::signal(pidfd.as_fd(), signal) {
        Err(error) if error.errno == errno::ESRCH => return Err(Error::NotRunning),
        other => other?,
    }
    if signal == SIGKILL {
        let cgroup = record.cgroup()?;
        if !record.owns_pids {
            host.kill(&cgroup)?;
        } else {
            host.thaw_tree(&cgroup)?;
        }
    }
    Ok(())
}

/// Ends a container whatever state it is in.
pub(crate) fn end(host: &Host, record: &Record) -> Result<()> {
    match send(host, record, SIGKILL) {
        Err(Error::NotRunning) | Ok(()) => Ok(()),
        other => other,
    }
}
