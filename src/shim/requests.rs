//! What the daemon asks that changes nothing in the pod's state, and the words for what cannot be done.

use std::os::fd::AsFd;

use sys::fd::errno;
use sys::process::SIGKILL;
use sys::{SysError, cgroup, process};
use wire::feature::{Feature, Features};
use wire::msg::{ErrorCode, Reply, Request};

use crate::pod::Ticket;
use crate::shim::Shim;
use launch::Failure;

/// What this shim and its launcher carry out.
const FEATURES: Features = Features::of(&[
    Feature::Streams,
    Feature::UserNamespaces,
    Feature::IdmappedMounts,
    Feature::MountFlags,
    Feature::ImageVolumes,
    Feature::DirectoryRoots,
    Feature::Runtimes,
    Feature::Hooks,
    Feature::SeccompAgents,
    Feature::AppArmor,
    Feature::Selinux,
    Feature::TerminalSizes,
    Feature::IoPriorities,
    Feature::Schedulers,
    Feature::MemoryPolicies,
    Feature::CacheClasses,
    Feature::ExecKills,
]);

/// An error reply.
pub(crate) fn error(kind: ErrorCode, message: impl Into<String>) -> Reply {
    Reply::Error { kind, errno: 0, message: message.into() }
}

/// An error reply with the kernel's reason.
pub(crate) fn failed(kind: ErrorCode, error: &SysError) -> Reply {
    Reply::Error { kind, errno: error.errno, message: error.to_string() }
}

/// An error reply for a child that did not become its program.
pub(crate) fn refused(failure: &Failure) -> Reply {
    Reply::Error { kind: failure.kind, errno: failure.errno, message: failure.message.clone() }
}

/// No such container.
pub(crate) fn unknown(id: &str) -> Reply {
    error(ErrorCode::NotFound, format!("container {id} is not in this pod"))
}

impl Shim {
    /// Carries out what concerns the shim alone.
    pub(crate) fn serve(&mut self, ticket: Ticket, request: &Request) {
        let answer = match request {
            Request::Hello => Ok(Some(self.greet(ticket))),
            Request::Sandbox(plan) => self.set_up_sandbox(plan).map(Some),
            Request::ReopenLog { id } => self.reopen_log(id).map(|()| Some(Reply::Ok)),
            Request::CloseStdin { id } => self.close_stdin(id).map(|()| Some(Reply::Ok)),
            // The pod's own.
            Request::Create(_)
            | Request::Start { .. }
            | Request::Signal { .. }
            | Request::Exec(_)
            | Request::KillExec { .. }
            | Request::OpenExec { .. }
            | Request::WaitExec { .. }
            | Request::Attach { .. }
            | Request::Remove { .. }
            | Request::Shutdown => Ok(None),
        };
        match answer {
            Ok(Some(reply)) | Err(reply) => self.reply(ticket, &reply),
            Ok(None) => {}
        }
    }

    fn greet(&mut self, ticket: Ticket) -> Reply {
        if let Some(conn) = self.conns.get_mut(&ticket.conn) {
            conn.greeted = true;
        }
        self.succeed_all();
        Reply::Hello {
            version: wire::VERSION,
            pid: std::process::id().cast_signed(),
            sandbox_ready: self.pod.is_set_up(),
            containers: self.pod.snapshots(),
            pause_pid: self.pod.pause(),
            features: FEATURES,
        }
    }

    /// Sends a signal to a container, and answers.
    pub(crate) fn signal(&mut self, ticket: Ticket, id: &str, signal: i32, all: bool) {
        self.succeed(id);
        let reply = self.send_signal(id, signal, all).map_or_else(|reply| reply, |()| Reply::Ok);
        self.reply(ticket, &reply);
    }

    fn send_signal(&self, id: &str, signal: i32, all: bool) -> Result<(), Reply> {
        let ended = || error(ErrorCode::BadState, format!("container {id} has ended"));
        let handles = self.containers.get(id).ok_or_else(|| unknown(id))?;
        let child = handles.first.child.as_ref().ok_or_else(ended)?;
        if let Some(dir) = handles.place.whole() {
            if signal == SIGKILL {
                // A frozen container would keep the signal until somebody thaws it.
                cgroup::thaw(&dir);
            }
            if all && signal == SIGKILL {
                cgroup::kill_all(&dir);
            } else if all {
                cgroup::signal_all(&dir, signal);
                return Ok(());
            }
        }
        match process::signal(child.pidfd.as_fd(), signal) {
            Err(error) if error.errno == errno::ESRCH => Err(ended()),
            Err(error) => Err(failed(ErrorCode::Invalid, &error)),
            Ok(()) => Ok(()),
        }
    }

    fn reopen_log(&mut self, id: &str) -> Result<(), Reply> {
        let handles = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        handles.stdio.log.reopen().map_err(|error| failed(ErrorCode::Io, &error))
    }

    /// Ends a container's stdin, but for clients that have it.
    pub(crate) fn close_stdin(&mut self, id: &str) -> Result<(), Reply> {
        self.containers.get_mut(id).ok_or_else(|| unknown(id))?.stdio.stdin = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_of_the_protocol_is_stated_once_it_is_carried_out() {
        let lacking = Features::of(Feature::ALL).without(FEATURES);
        assert!(lacking.is_empty(), "carry it out, then state it in FEATURES: {lacking}");
    }
}
