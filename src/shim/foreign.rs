//! Containers that an OCI runtime makes: its commands run as children of the shim, and what they leave behind comes to the
//! shim as its reaper, which takes it in as if it were its own child.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use launch::{ForeignChild, Stage, run_foreign};
use sys::fd::{as_path, errno, flag, namespace};
use sys::process::{self, Child, Forked};
use sys::{SysError, SysResult, resolve, socket};
use wire::msg::ErrorCode;
use wire::plan::{Bytes, ContainerPlan, ExecPlan, IdMaps, ProcessPlan, RuntimePlan};

use crate::conn::Conn;
use crate::log::Stream;
use crate::pod::{End, Fact};
use crate::reactor::{Source, Watched};
use crate::requests::failed;
use crate::shim::Shim;
use crate::time;

/// What a container of a runtime has beside the others.
#[derive(Debug)]
pub(crate) struct Foreign {
    plan: RuntimePlan,
    /// The command that is under way, until it is reaped.
    helper: Option<Child>,
    /// Where the terminal's master is to come: the listener, then the connection.
    console: Option<Watched>,
    connected: bool,
}

impl Foreign {
    /// What waits for a terminal that does not come any more.
    pub(crate) fn take_console(&mut self) -> Option<Watched> {
        self.console.take()
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
        let console = console
            .map(|listener| self.reactor.watch(listener, Source::Console(plan.id.clone())))
            .transpose()?;
        Ok(Some(Foreign { plan: runtime.clone(), helper: None, console, connected: false }))
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
        let (null, daemon) = (self.null()?, self.daemon()?);
        match self.fork(namespace::MOUNT, None)?.0 {
            Forked::Parent(child) => Ok(child),
            Forked::Child => run_foreign(&ForeignChild {
                argv: &runtime.create,
                directory: &runtime.directory,
                beside: Some(&daemon),
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

    /// The daemon, in whose namespaces runtimes expect to be: they look there for interfaces of the host, run hooks in them, and
    /// take a container that joins the namespaces they are in for one on the host's.
    fn daemon(&self) -> SysResult<OwnedFd> {
        let alive = |conn: &Conn| process::pidfd_open(socket::peer_pid(conn.as_fd()).ok()?).ok();
        let found = self.conns.values().rev().find_map(alive);
        found.ok_or_else(|| SysError::new("find the daemon", "", errno::ESRCH))
    }

    /// Forks another command of a container's life.
    pub(crate) fn fork_command(
        &self,
        argv: &[Bytes],
        directory: &[u8],
        status: &OwnedFd,
    ) -> SysResult<Child> {
        let daemon = self.daemon()?;
        self.fork_foreign(&ForeignChild {
            argv,
            directory,
            beside: Some(&daemon),
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
            beside: None,
            stage: None,
            status,
            stdio,
            null: Some(self.null()?),
            tty,
            size: plan.size,
            owner: container.and_then(|container| owner(&container.place.ids, &plan.process)),
        })
    }

    fn fork_foreign(&self, child: &ForeignChild<'_>) -> SysResult<Child> {
        match self.fork(0, None)?.0 {
            Forked::Parent(child) => Ok(child),
            Forked::Child => run_foreign(child),
        }
    }

    /// Forks the runtime's command `start`.
    pub(crate) fn run_start(&mut self, id: &str) {
        let foreign = self.containers.get(id).and_then(|one| one.foreign.as_ref());
        let Some(plan) = foreign.map(|foreign| foreign.plan.clone()) else { return };
        let forked = socket::message_pair().and_then(|status| {
            let helper = self.fork_command(&plan.start, &plan.directory, &status.1)?;
            drop(status.1);
            let status = self.reactor.watch(status.0, Source::Status(id.to_owned()))?;
            Ok((helper, status))
        });
        match (forked, self.containers.get_mut(id)) {
            (Ok((helper, status)), Some(handles)) => {
                let pid = helper.pid;
                handles.status = Some(status);
                if let Some(foreign) = &mut handles.foreign {
                    foreign.helper = Some(helper);
                }
                self.learn(id, Fact::HelperRuns(time::wall_ns(), pid));
            }
            (Err(error), _) => self.learn(id, Fact::NotTold(failed(ErrorCode::Setup, &error))),
            (Ok(_), None) => {}
        }
    }

    /// The runtime's command has been reaped.
    pub(crate) fn forget_helper(&mut self, id: &str) {
        if let Some(foreign) = self.containers.get_mut(id).and_then(|one| one.foreign.as_mut()) {
            foreign.helper = None;
        }
    }

    /// `create`, which ended so, has left the container's first process behind, now a child of this one.
    pub(crate) fn adopt(&mut self, id: &str, end: End) {
        let Some(handles) = self.containers.get_mut(id) else { return };
        let Some(plan) = handles.foreign.as_ref().map(|foreign| &foreign.plan) else { return };
        match take_in(&as_path(&plan.directory).join(as_path(&plan.pid_file))) {
            Ok(child) => {
                let pid = child.pid;
                handles.first.child = Some(child);
                self.learn(id, Fact::Adopted(pid));
            }
            Err(error) => self.learn(id, Fact::NotAdopted(error.into(), end)),
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
                master.and_then(|fd| self.reactor.watch(fd, Source::Output(id.to_owned(), Stream::Out)).ok())
                && let Some(container) = self.containers.get_mut(id)
            {
                container.stdio.outputs = [Some(terminal), None];
            }
            None
        } else {
            let accepted = socket::accept(watched.fd.as_fd());
            accepted.and_then(|stream| self.reactor.watch(stream, Source::Console(id.to_owned()))).ok()
        };
        self.reactor.unwatch(watched);
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
    // A program that is no OCI runtime ends well and leaves nothing.
    let none =
        SysError::io("find the process that the runtime's command create should have left: read", path);
    let text = std::fs::read_to_string(path).map_err(none)?;
    let pid: i32 = text.trim().parse().map_err(|_| SysError::new("read process id", path, errno::EINVAL))?;
    Ok(Child { pid, pidfd: process::pidfd_open(pid)? })
}
