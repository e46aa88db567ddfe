//! Containers that an OCI runtime makes: its commands run as children of the shim, and what they leave behind comes to the
//! shim as its reaper, which takes it in as if it were its own child.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use launch::{Failure, ForeignChild, Stage, run_foreign};
use sys::fd::{as_path, errno, flag, namespace};
use sys::process::{self, Child, Ended, Forked};
use sys::{SysError, SysResult, resolve, socket};
use wire::msg::{ErrorCode, Reply};
use wire::plan::{Bytes, ContainerPlan, ExecPlan, IdMaps, ProcessPlan, RuntimePlan};

use crate::container::{Container, Phase};
use crate::log::Stream;
use crate::reactor::{Shim, Source, Ticket, Watched};
use crate::requests::{error, failed};
use crate::time;

/// What a container of a runtime has beside the others.
#[derive(Debug)]
pub(crate) struct Foreign {
    plan: RuntimePlan,
    /// The command that is under way, until it is reaped.
    helper: Option<Child>,
    /// The first process has been taken in.
    adopted: bool,
    /// Where the terminal's master is to come: the listener, then the connection.
    console: Option<Watched>,
    connected: bool,
}

impl Foreign {
    /// What waits for a terminal that does not come any more.
    pub(crate) fn take_console(&mut self) -> Option<Watched> {
        self.console.take()
    }

    /// Nothing is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.helper.is_none()
    }
}

/// The runtime's command for a container's life, with where its terminal is to be sent.
pub(crate) fn listen(plan: &ContainerPlan) -> SysResult<Option<OwnedFd>> {
    let Some(runtime) = plan.runtime.as_ref().filter(|_| plan.stdio.tty) else { return Ok(None) };
    let dir = resolve::open(&runtime.directory, flag::O_PATH | flag::O_DIRECTORY)?;
    socket::listen_in(dir.as_fd(), as_path(&runtime.console)).map(Some)
}

impl Shim {
    /// What a container's record starts with.
    pub(crate) fn foreign(
        &mut self,
        plan: &ContainerPlan,
        console: Option<OwnedFd>,
    ) -> SysResult<Option<Foreign>> {
        let Some(runtime) = &plan.runtime else { return Ok(None) };
        let console =
            console.map(|listener| self.watch(listener, Source::Console(plan.id.clone()))).transpose()?;
        Ok(Some(Foreign { plan: runtime.clone(), helper: None, adopted: false, console, connected: false }))
    }

    /// Forks `create`, in a mount namespace where the container's root stands.
    pub(crate) fn fork_create(
        &self,
        plan: &ContainerPlan,
        runtime: &RuntimePlan,
        status: &OwnedFd,
        stdio: [Option<&OwnedFd>; 3],
    ) -> SysResult<Child> {
        let userns = if plan.ids.is_empty() { None } else { Some(self.userns(&plan.ids)?) };
        let null = self.null()?;
        match self.fork(namespace::MOUNT, None)?.0 {
            Forked::Parent(child) => Ok(child),
            Forked::Child => run_foreign(&ForeignChild {
                argv: &runtime.create,
                directory: &runtime.directory,
                stage: Some(Stage { plan, runtime, userns, single: &self.single }),
                status,
                stdio,
                null: Some(null),
                tty: false,
                size: (0, 0),
                owner: owner(&plan.ids, &plan.process),
            }),
        }
    }

    /// Forks another command of a container's life.
    pub(crate) fn fork_command(
        &self,
        argv: &[Bytes],
        directory: &[u8],
        status: &OwnedFd,
    ) -> SysResult<Child> {
        self.fork_foreign(&ForeignChild {
            argv,
            directory,
            stage: None,
            status,
            stdio: [None; 3],
            null: Some(self.null()?),
            tty: false,
            size: (0, 0),
            owner: None,
        })
    }

    /// Forks an exec of a runtime's container.
    pub(crate) fn fork_foreign_exec(
        &self,
        plan: &ExecPlan,
        status: &OwnedFd,
        stdio: [Option<&OwnedFd>; 3],
        tty: bool,
    ) -> SysResult<Child> {
        let container = self.containers.get(&plan.container);
        self.fork_foreign(&ForeignChild {
            argv: &plan.runtime,
            directory: b"",
            stage: None,
            status,
            stdio,
            null: Some(self.null()?),
            tty,
            size: plan.size,
            owner: container.and_then(|container| owner(&container.ids, &plan.process)),
        })
    }

    fn fork_foreign(&self, child: &ForeignChild<'_>) -> SysResult<Child> {
        match self.fork(0, None)?.0 {
            Forked::Parent(child) => Ok(child),
            Forked::Child => run_foreign(child),
        }
    }

    /// Forks `start`; Start is answered when it has ended.
    pub(crate) fn start_foreign(&mut self, ticket: Ticket, id: &str) -> Result<(), Reply> {
        let Some(plan) =
            self.containers.get(id).and_then(|one| one.foreign.as_ref()).map(|one| one.plan.clone())
        else {
            return Err(error(ErrorCode::BadState, format!("container {id} is none of a runtime's")));
        };
        let forked = socket::message_pair().and_then(|status| {
            let helper = self.fork_command(&plan.start, &plan.directory, &status.1)?;
            drop(status.1);
            let status = self.watch(status.0, Source::Status(id.to_owned()))?;
            Ok((helper, status))
        });
        let (helper, status) = forked.map_err(|error| failed(ErrorCode::Setup, &error))?;
        let Some(container) = self.containers.get_mut(id) else { return Ok(()) };
        container.started_at_ns = time::wall_ns();
        container.phase = Phase::Starting(ticket);
        container.status = Some(status);
        if let Some(foreign) = &mut container.foreign {
            foreign.helper = Some(helper);
        }
        Ok(())
    }

    /// The container whose `start` this was.
    pub(crate) fn of_helper(&self, pid: i32) -> Option<String> {
        let is = |one: &&Container| {
            let helper = one.foreign.as_ref().and_then(|foreign| foreign.helper.as_ref());
            helper.is_some_and(|helper| helper.pid == pid)
        };
        self.containers.values().find(is).map(|one| one.id.clone())
    }

    /// `start` has ended.
    pub(crate) fn on_helper_ended(&mut self, id: &str, ended: Ended) {
        self.on_status(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(foreign) = &mut container.foreign {
            foreign.helper = None;
        }
        if ended.code != 0 && container.failure.is_none() {
            container.failure = Some(refusal("start", ErrorCode::Exec, ended));
        }
        match (&container.phase, &container.failure) {
            (Phase::Starting(ticket), None) => {
                let (ticket, started_at_ns) = (*ticket, container.started_at_ns);
                container.phase = Phase::Running;
                self.reply(ticket, &Reply::Started { started_at_ns, pid: 0 });
            }
            // What waits to be started is of no use any more.
            (_, Some(_)) => container.kill(),
            _ => {}
        }
        self.try_bury(id, std::time::Instant::now());
    }

    /// `create` has ended well: the container's first process, now a child of this one, takes its place. `false` when
    /// the end is the first process's own, or `create` failed.
    pub(crate) fn adopt(&mut self, id: &str, ended: Ended) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        let Some(foreign) = container.foreign.as_mut().filter(|foreign| !foreign.adopted) else {
            return false;
        };
        if ended.code != 0 {
            if container.failure.is_none() {
                container.failure = Some(refusal("create", ErrorCode::Setup, ended));
            }
            return false;
        }
        let path = as_path(&foreign.plan.directory).join(as_path(&foreign.plan.pid_file));
        match take_in(&path) {
            Ok(child) => {
                foreign.adopted = true;
                let pid = child.pid;
                container.child = Some(child);
                if let Phase::Creating(ticket) = container.phase {
                    container.phase = Phase::Created;
                    self.reply(ticket, &Reply::Created { pid });
                }
                true
            }
            Err(error) => {
                container.failure = Some(error.into());
                false
            }
        }
    }

    /// The runtime connects, then sends the terminal's master.
    pub(crate) fn on_console(&mut self, id: &str) {
        let foreign = self.containers.get_mut(id).and_then(|one| one.foreign.as_mut());
        let Some((watched, connected)) =
            foreign.and_then(|foreign| Some((foreign.console.take()?, foreign.connected)))
        else {
            return;
        };
        let next = if connected {
            let received = socket::receive(watched.fd.as_fd(), &mut [0; 4096]);
            let master = received.ok().and_then(|(_, passed)| passed);
            if let Some(terminal) =
                master.and_then(|fd| self.watch(fd, Source::Output(id.to_owned(), Stream::Out)).ok())
                && let Some(container) = self.containers.get_mut(id)
            {
                container.outputs = [Some(terminal), None];
            }
            None
        } else {
            let accepted = socket::accept(watched.fd.as_fd());
            accepted.and_then(|stream| self.watch(stream, Source::Console(id.to_owned()))).ok()
        };
        self.unwatch(watched);
        if let Some(foreign) = self.containers.get_mut(id).and_then(|one| one.foreign.as_mut()) {
            foreign.connected = true;
            foreign.console = next;
        }
    }
}

/// Who a process is outside of its user namespace, if it has one.
fn owner(ids: &IdMaps, process: &ProcessPlan) -> Option<(u32, u32)> {
    (!ids.is_empty()).then(|| (ids.uid_outside(process.uid), ids.gid_outside(process.gid)))
}

/// Reads a process's number from the file that a runtime has written, and takes it in.
fn take_in(path: &Path) -> SysResult<Child> {
    let text = std::fs::read_to_string(path).map_err(SysError::io("read", path))?;
    let pid: i32 = text.trim().parse().map_err(|_| SysError::new("read process id", path, errno::EINVAL))?;
    Ok(Child { pid, pidfd: process::pidfd_open(pid)? })
}

fn refusal(command: &str, kind: ErrorCode, ended: Ended) -> Failure {
    let how = match ended.signal {
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with code {}", ended.code),
    };
    Failure { kind, errno: 0, message: format!("the runtime's command {command} {how}") }
}
