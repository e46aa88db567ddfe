//! What the shim holds of a container: its processes, descriptors and files. Where it stands is known by `pod`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use sys::fd::as_path;
use sys::process::{Child, SIGKILL, Successor};
use sys::{SysResult, cgroup, process, socket};
use wire::msg::{ErrorCode, Reply};
use wire::plan::{Bytes, CgroupPlan, ContainerPlan, IdMaps, PidNamespace};

use crate::foreign::{self, Foreign};
use crate::fork::Ends;
use crate::log::{Log, Stream};
use crate::pod::{Birth, Container, Count, Fact};
use crate::reactor::{Source, Watched};
use crate::requests::{error, failed};
use crate::shim::Shim;
use crate::time;
use crate::tracking::ExecCgroups;
use launch::channel::{self, Status};
use launch::room::{self, Room};
use launch::{Failure, Joined, Joining};

/// What is held of one container.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) place: Place,
    pub(crate) first: First,
    pub(crate) stdio: Stdio,
    pub(crate) status: Option<Watched>,
    /// The socket of the agent that its filter asks; empty: there is none.
    agent: Bytes,
    /// Tells that its cgroup is out of memory.
    pub(crate) memory: Option<Watched>,
    /// What a container that a runtime makes has beside the others.
    pub(crate) foreign: Option<Foreign>,
    /// Cgroups that its commands join.
    pub(crate) exec_cgroups: ExecCgroups,
}

/// Where its processes are.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cgroup: CgroupPlan,
    /// The ids of the user namespace that it lives in; empty: the host's.
    pub(crate) ids: IdMaps,
    /// It is in the host's PID namespace.
    pub(crate) on_host_pids: bool,
    /// Who is in its PID namespace may be traced by it.
    pub(crate) traces: bool,
    /// The PID namespace that it joins.
    pub(crate) joined: Option<Rc<Joined>>,
}

impl Place {
    /// The cgroup by which all of its processes are found.
    pub(crate) fn whole(&self) -> Option<PathBuf> {
        let dir = self.cgroup.kill.as_deref().or(self.cgroup.v2.as_deref());
        dir.map(|dir| as_path(dir).to_path_buf())
    }

    /// How often the kernel has killed in there for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.cgroup.oom.as_deref().map_or(0, |dir| cgroup::oom_kills(as_path(dir)))
    }
}

/// Its first process.
#[derive(Debug)]
pub(crate) struct First {
    /// Until it is reaped.
    pub(crate) child: Option<Child>,
    /// Its root directory, until the process has ended.
    pub(crate) root: Option<OwnedFd>,
    /// Where the number of the process stands that takes the builder's place in a PID namespace that it joins; `None`
    /// once it is known.
    pub(crate) successor: Option<Successor>,
    /// What was done for a place of that one.
    pub(crate) room: Room,
}

/// Its input and output.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) outputs: [Option<Watched>; 2],
    pub(crate) log: Log,
    pub(crate) stdin: Option<OwnedFd>,
    /// Its one output is the master of its terminal.
    pub(crate) tty: bool,
}

impl Handles {
    fn new(plan: &ContainerPlan, child: Child, log: Log) -> Self {
        let agent = plan.process.seccomp_agent.as_ref();
        Self {
            place: Place {
                cgroup: plan.cgroup.clone(),
                ids: plan.ids.clone(),
                on_host_pids: plan.pid_namespace == PidNamespace::Host,
                traces: room::is_refused(&plan.process, !plan.ids.is_empty()),
                joined: None,
            },
            first: First { child: Some(child), root: None, successor: None, room: Room::default() },
            stdio: Stdio { outputs: [None, None], log, stdin: None, tty: plan.stdio.tty },
            status: None,
            agent: agent.map(|one| one.socket.clone()).unwrap_or_default(),
            memory: None,
            foreign: None,
            exec_cgroups: ExecCgroups::of(plan),
        }
    }
}

impl Shim {
    /// Forks the child that builds a container.
    pub(crate) fn build(&mut self, plan: &ContainerPlan) {
        let id = plan.id.as_str();
        let oom_kills = plan.cgroup.oom.as_deref().map_or(0, |dir| cgroup::oom_kills(as_path(dir)));
        let begun = Log::open(&plan.stdio.log_path).map_err(|error| failed(ErrorCode::Io, &error));
        let (mut handles, ends) = match begun.and_then(|log| self.begin(plan, log)) {
            Ok(begun) => begun,
            Err(reply) => return self.learn(id, Fact::NotForked(reply)),
        };
        let joins = handles.place.joined.is_some();
        let pid = handles.first.child.as_ref().map_or(0, |child| child.pid);
        let watched = self.watch_child(id, &mut handles, ends);
        self.containers.insert(id.to_owned(), Box::new(handles));
        self.learn(id, Fact::Forked(Birth { pid, at_ns: time::wall_ns(), joins, oom_kills }));
        if let Err(error) = watched {
            self.learn(id, Fact::Broken(error.into()));
        }
    }

    fn begin(&mut self, plan: &ContainerPlan, log: Log) -> Result<(Handles, Ends), Reply> {
        let forked = foreign::listen(plan).and_then(|console| {
            let foreign = self.foreign(plan, console)?;
            let joined = self.joined(plan)?;
            let successor = joined.as_ref().map(|_| Successor::new()).transpose()?;
            let joining = joined.as_deref().zip(successor.as_ref());
            let joining = joining.map(|(joined, successor)| Joining { joined, successor });
            failpoint::reach!("shim.create.opened")?;
            let (child, ends) = self.fork_container(plan, Ends::new(plan)?, joining)?;
            failpoint::pass!("shim.create.forked");
            Ok((foreign, child, ends, joined, successor))
        });
        match forked {
            Ok((foreign, child, ends, joined, successor)) => {
                let mut handles = Handles::new(plan, child, log);
                handles.foreign = foreign;
                handles.place.joined = joined;
                handles.first.successor = successor;
                Ok((handles, ends))
            }
            Err(error) => {
                log.discard();
                Err(failed(ErrorCode::Setup, &error))
            }
        }
    }

    fn watch_child(&mut self, id: &str, handles: &mut Handles, ends: Ends) -> SysResult<()> {
        handles.stdio.stdin = ends.stdin.map(|(_, writer)| writer);
        handles.status = Some(self.reactor.watch(ends.status.0, Source::Status(id.to_owned()))?);
        if let Some([out, err]) = ends.output {
            let out = self.reactor.watch(out.0, Source::Output(id.to_owned(), Stream::Out))?;
            let err = self.reactor.watch(err.0, Source::Output(id.to_owned(), Stream::Err))?;
            handles.stdio.outputs = [Some(out), Some(err)];
        }
        Ok(failpoint::reach!("shim.create.watched")?)
    }

    /// Tells a container's child to go on.
    pub(crate) fn tell(&mut self, id: &str) {
        let Some(handles) = self.containers.get(id) else { return };
        let sent = match &handles.status {
            None => None,
            Some(status) if handles.agent.is_empty() => channel::send_go(status.fd.as_fd()).ok(),
            Some(status) => match socket::connect_stream(as_path(&handles.agent)) {
                Ok(agent) => channel::send_go_with(status.fd.as_fd(), agent.as_fd()).ok(),
                Err(error) => {
                    self.learn(id, Fact::Told(time::wall_ns()));
                    return self.learn(id, Fact::Broken(unreachable_agent(&error)));
                }
            },
        };
        let ended = || Fact::NotTold(error(ErrorCode::BadState, format!("container {id} has ended")));
        failpoint::pass!("shim.start.told");
        self.learn(id, sent.map_or_else(ended, |()| Fact::Told(time::wall_ns())));
    }

    /// Takes in what a container's child says.
    pub(crate) fn hear(&mut self, id: &str) {
        while let Some(handles) = self.containers.get_mut(id) {
            let Some(status) = &handles.status else { return };
            // What comes later may be of another container's making, with which it shares a PID namespace.
            let built = self.pod.container(id).is_none_or(Container::is_built);
            match channel::receive(status.fd.as_fd()) {
                None => return,
                Some(Status::HandedOver(_) | Status::Root(_) | Status::Ready(_)) if built => {}
                Some(Status::Mounts(_) | Status::Procfs(_)) => {}
                Some(Status::Crowded) => self.make_room(id),
                Some(Status::Warning(text)) => crate::report(&format!("container {id}: {text}")),
                Some(Status::Failed(failure)) => self.learn(id, Fact::Failed(failure)),
                Some(Status::HandedOver(child)) => {
                    let pid = child.pid;
                    handles.first.child = Some(child);
                    self.learn(id, Fact::HandedOver(pid));
                }
                Some(Status::Root(root)) => handles.first.root = Some(root),
                Some(Status::Ready(master)) => self.on_ready(id, master),
                Some(Status::Closed) => {
                    failpoint::pass!("shim.start.ran");
                    self.succeed(id);
                    self.learn(id, Fact::Closed);
                }
            }
        }
    }

    fn on_ready(&mut self, id: &str, master: Option<OwnedFd>) {
        let terminal = master.map(|fd| self.reactor.watch(fd, Source::Output(id.to_owned(), Stream::Out)));
        match (terminal.transpose(), self.containers.get_mut(id)) {
            (Ok(Some(terminal)), Some(handles)) => handles.stdio.outputs = [Some(terminal), None],
            (Ok(_), _) => {}
            (Err(error), _) => return self.learn(id, Fact::Broken(error.into())),
        }
        failpoint::pass!("shim.create.ready");
        self.learn(id, Fact::Ready);
    }

    /// The first process has been reaped.
    pub(crate) fn forget_process(&mut self, id: &str) {
        if let Some(handles) = self.containers.get_mut(id) {
            (handles.first.child, handles.first.root) = (None, None);
            handles.first.room.clear();
        }
        self.kill_launching(id);
    }

    /// Closes the channel to a child that says no more.
    pub(crate) fn close_status(&mut self, id: &str) {
        if let Some(status) = self.containers.get_mut(id).and_then(|handles| handles.status.take()) {
            self.reactor.unwatch(status);
        }
    }

    /// Wants to know when the container is out of memory. Without that, what it survives is noticed late.
    pub(crate) fn watch_memory(&mut self, id: &str) {
        let Some(handles) = self.containers.get(id) else { return };
        let Some(dir) = handles.place.cgroup.oom.as_deref() else { return };
        let watch = cgroup::watch_memory(as_path(dir));
        match watch.and_then(|fd| self.reactor.watch(fd, Source::Memory(id.to_owned()))) {
            Ok(watched) => {
                if let Some(handles) = self.containers.get_mut(id) {
                    handles.memory = Some(watched);
                }
            }
            Err(error) => crate::report(&format!("container {id}: {error}")),
        }
    }

    /// Something of it is killed about now; whether it is itself is seen a little later.
    pub(crate) fn on_memory(&mut self, id: &str) {
        if let Some(memory) = self.containers.get(id).and_then(|handles| handles.memory.as_ref()) {
            cgroup::drain(&memory.fd);
        }
        self.learn(id, Fact::OutOfMemory);
    }

    /// Counts the kernel's kills in its cgroup.
    pub(crate) fn count(&mut self, id: &str, known: u64, doomed: bool) {
        self.succeed(id);
        let Some(handles) = self.containers.get(id) else { return };
        let Some(child) = &handles.first.child else { return };
        let kills = handles.place.oom_kills();
        // Looked at after the count: a kill between the two makes it die of what is not counted yet.
        let dying = (kills > known || doomed) && process::is_dying(child.pid);
        self.learn(id, Fact::Counted(Count { kills, dying, doomed }));
    }

    /// Kills its first process, also a frozen one.
    pub(crate) fn kill(&mut self, id: &str) {
        self.succeed(id);
        let Some(handles) = self.containers.get(id) else { return };
        if let Some(dir) = &handles.place.cgroup.kill {
            cgroup::thaw(as_path(dir));
        }
        if let Some(child) = &handles.first.child {
            // It has ended by itself in the meantime: fine.
            let _ = process::signal(child.pidfd.as_fd(), SIGKILL);
        }
    }
}

/// The agent that a filter asks is not there.
fn unreachable_agent(error: &sys::SysError) -> Failure {
    Failure {
        kind: ErrorCode::Setup,
        errno: error.errno,
        message: format!("reach the seccomp agent: {error}"),
    }
}
