//! What the daemon asks, one request at a time; long ones are answered later, by ticket.

use std::time::{Duration, Instant};

use sys::SysError;
use sys::fd::{as_path, errno};
use wire::feature::{Feature, Features};
use wire::msg::{ContainerSnapshot, ErrorCode, Reply, Request};

use crate::container::{Container, Phase};
use crate::reactor::{Shim, Shutdown, Ticket};
use launch::Failure;

/// A pod that does not die in this time is left behind.
const SHUTDOWN: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

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
    /// Carries a request out, or begins to.
    pub(crate) fn handle(&mut self, ticket: Ticket, request: Request) {
        let answer = match request {
            Request::Hello => Ok(Some(self.hello(ticket))),
            Request::Sandbox(plan) => self.set_up_sandbox(&plan).map(Some),
            Request::Create(plan) => self.create(ticket, &plan).map(|()| None),
            Request::Start { id } => self.start(ticket, &id).map(|()| None),
            Request::Signal { id, signal, all } => self.signal(&id, signal, all).map(|()| Some(Reply::Ok)),
            Request::Exec(plan) => self.exec(ticket, plan).map(|()| None),
            Request::ReopenLog { id } => self.reopen_log(&id).map(|()| Some(Reply::Ok)),
            Request::Remove { id } => Ok(self.remove(ticket, &id)),
            Request::CloseStdin { id } => self.close_stdin(&id).map(|()| Some(Reply::Ok)),
            Request::OpenExec { plan, streams, tty } => {
                self.open_exec(ticket, plan, streams, tty).map(|()| None)
            }
            Request::WaitExec { number } => self.wait_exec(ticket, number),
            Request::Attach { id, streams } => self.attach(ticket, &id, streams).map(|()| None),
            Request::Shutdown => {
                self.shut_down(ticket);
                Ok(None)
            }
        };
        match answer {
            Ok(Some(reply)) | Err(reply) => self.reply(ticket, &reply),
            Ok(None) => {}
        }
    }

    fn hello(&mut self, ticket: Ticket) -> Reply {
        if let Some(conn) = self.conns.get_mut(&ticket.conn) {
            conn.greeted = true;
        }
        let containers: Vec<ContainerSnapshot> =
            self.containers.values_mut().map(Container::snapshot).collect();
        Reply::Hello {
            version: wire::VERSION,
            pid: std::process::id().cast_signed(),
            sandbox_ready: self.sandbox.is_some(),
            containers,
            pause_pid: self
                .sandbox
                .as_ref()
                .and_then(|sandbox| sandbox.pause.as_ref())
                .map(|pause| pause.pid),
            features: FEATURES,
        }
    }

    fn signal(&mut self, id: &str, signal: i32, all: bool) -> Result<(), Reply> {
        let container = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        if signal == SIGKILL {
            container.doom();
        } else {
            container.outlive();
        }
        let ended = || error(ErrorCode::BadState, format!("container {id} has ended"));
        let child = container.child.as_ref().ok_or_else(ended)?;
        let dir = container.cgroup.kill.as_deref().or(container.cgroup.v2.as_deref());
        if let Some(dir) = dir {
            if signal == SIGKILL {
                // A frozen container would keep the signal until somebody thaws it.
                sys::cgroup::thaw(as_path(dir));
            }
            if all && signal == SIGKILL {
                sys::cgroup::kill_all(as_path(dir));
            } else if all {
                sys::cgroup::signal_all(as_path(dir), signal);
                return Ok(());
            }
        }
        use std::os::fd::AsFd;
        match sys::process::signal(child.pidfd.as_fd(), signal) {
            Err(error) if error.errno == errno::ESRCH => Err(ended()),
            Err(error) => Err(failed(ErrorCode::Invalid, &error)),
            Ok(()) => Ok(()),
        }
    }

    fn reopen_log(&mut self, id: &str) -> Result<(), Reply> {
        let container = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        container.log.reopen().map_err(|error| failed(ErrorCode::Io, &error))
    }

    fn close_stdin(&mut self, id: &str) -> Result<(), Reply> {
        self.containers.get_mut(id).ok_or_else(|| unknown(id))?.stdin = None;
        Ok(())
    }

    /// Forgets a container at once, or when it is dead.
    fn remove(&mut self, ticket: Ticket, id: &str) -> Option<Reply> {
        let Some(container) = self.containers.get_mut(id) else { return Some(Reply::Ok) };
        if let Phase::Exited(_) = container.phase {
            self.forget(id);
            return Some(Reply::Ok);
        }
        container.removers.push(ticket);
        container.kill();
        None
    }

    fn shut_down(&mut self, ticket: Ticket) {
        for container in self.containers.values_mut() {
            container.kill();
        }
        if let Some(sandbox) = &self.sandbox {
            sandbox.kill_pause();
        }
        self.shutdown = Some(Shutdown { ticket, by: Instant::now() + SHUTDOWN });
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
