//! A container from its fork to its running program.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sys::fd::as_path;
use sys::process::{Child, Ended, Successor};
use sys::{cgroup, process, socket};
use wire::msg::{ContainerSnapshot, ContainerState, ErrorCode, ExitRecord, Reply};
use wire::plan::{Bytes, CgroupPlan, ContainerPlan, IdMaps, PidNamespace};

use crate::foreign::{self, Foreign};
use crate::fork::Ends;
use crate::log::{Log, Stream};
use crate::reactor::{Shim, Source, Ticket, Watched};
use crate::requests::{error, failed, unknown};
use crate::time;
use launch::channel::{self, Status};
use launch::{Failure, Joined, Joining};

const SIGKILL: i32 = 9;
/// Who lives so long after the kernel has killed for want of memory was not meant.
const SURVIVES: Duration = Duration::from_millis(100);

/// Where a container stands, and who waits for it to move on.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The child builds it; Create is to be answered.
    Creating(Ticket),
    /// The child waits for the word.
    Created,
    /// The child has got it; Start is to be answered.
    Starting(Ticket),
    /// The program runs.
    Running,
    /// It has ended, and everything about it is known.
    Exited(ExitRecord),
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) cgroup: CgroupPlan,
    /// The ids of the user namespace that it lives in; empty: the host's.
    pub(crate) ids: IdMaps,
    /// The socket of the agent that its filter asks; empty: there is none.
    agent: Bytes,
    /// The first process is PID 1 of a namespace: the kernel kills the others with it.
    pub(crate) owns_pids: bool,
    /// It is in the host's PID namespace.
    pub(crate) on_host_pids: bool,
    /// The PID namespace that it joins.
    pub(crate) joined: Option<Rc<Joined>>,
    /// Where the number of the process stands that takes the builder's place in there; `None` once it is known.
    pub(crate) successor: Option<Successor>,
    /// Until it is reaped.
    pub(crate) child: Option<Child>,
    /// Its root directory, until the first process has ended.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) status: Option<Watched>,
    pub(crate) outputs: [Option<Watched>; 2],
    pub(crate) log: Log,
    pub(crate) stdin: Option<OwnedFd>,
    /// Stdin ends with the first attached client that has it.
    pub(crate) stdin_once: bool,
    /// Its one output is the master of its terminal.
    pub(crate) tty: bool,
    pub(crate) phase: Phase,
    pub(crate) created_at_ns: i64,
    pub(crate) started_at_ns: i64,
    /// OOM kills in its cgroup that it has survived, or that were before it.
    pub(crate) oom_kills_before: u64,
    /// Tells that its cgroup is out of memory.
    pub(crate) memory: Option<Watched>,
    /// When it has survived that, if it lives then.
    pub(crate) survives_at: Option<Instant>,
    /// SIGKILL came from here, and so not from the kernel.
    pub(crate) killed: bool,
    pub(crate) failure: Option<Failure>,
    /// How it ended, and when by the wall clock.
    pub(crate) ended: Option<(Ended, i64)>,
    /// When to look again whether it can be buried.
    pub(crate) look_again: Option<Instant>,
    /// When to bury it whatever still holds its output.
    pub(crate) bury_by: Option<Instant>,
    pub(crate) removers: Vec<Ticket>,
    /// What a container that a runtime makes has beside the others.
    pub(crate) foreign: Option<Foreign>,
    /// Cgroups of execs that left processes behind.
    pub(crate) exec_cgroups: Vec<PathBuf>,
}

impl Container {
    /// Has processes, or is not buried yet.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Exited(_))
    }

    /// When its next timer fires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.look_again.into_iter().chain(self.bury_by).chain(self.survives_at).min()
    }

    /// Its own line of a greeting.
    pub(crate) fn snapshot(&mut self) -> ContainerSnapshot {
        self.succeed();
        let (state, exit) = match &self.phase {
            Phase::Creating(_) => (ContainerState::Creating, None),
            Phase::Created => (ContainerState::Created, None),
            Phase::Starting(_) | Phase::Running => (ContainerState::Running, None),
            Phase::Exited(record) => (ContainerState::Exited, Some(record.clone())),
        };
        ContainerSnapshot {
            id: self.id.clone(),
            state,
            // A builder that is about to be succeeded is nobody's first process any more.
            pid: match (&self.child, &self.phase, &self.successor) {
                (None, ..) | (_, Phase::Starting(_), Some(_)) => 0,
                (Some(child), ..) => child.pid,
            },
            created_at_ns: self.created_at_ns,
            started_at_ns: self.started_at_ns,
            exit,
        }
    }

    /// How often the kernel has killed in its cgroup for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.cgroup.oom.as_deref().map_or(0, |dir| cgroup::oom_kills(as_path(dir)))
    }

    /// A moment at which it lives: whatever the kernel killed in its cgroup until now was not itself.
    pub(crate) fn outlive(&mut self) {
        self.succeed();
        let kills = self.oom_kills();
        // Looked at after the count: a kill between the two makes it die of what is not counted yet.
        if kills > self.oom_kills_before
            && self.child.as_ref().is_some_and(|child| !process::is_dying(child.pid))
        {
            self.oom_kills_before = kills;
        }
    }

    /// SIGKILL is about to be sent to it.
    pub(crate) fn doom(&mut self) {
        self.outlive();
        self.killed |= self.child.as_ref().is_some_and(|child| !process::is_dying(child.pid));
    }

    /// Kills it; it is buried when it has been reaped.
    pub(crate) fn kill(&mut self) {
        self.doom();
        if let Some(dir) = &self.cgroup.kill {
            cgroup::thaw(as_path(dir));
        }
        if let Some(child) = &self.child {
            // It has ended by itself in the meantime: fine.
            let _ = process::signal(child.pidfd.as_fd(), SIGKILL);
        }
    }
}

impl Shim {
    /// Forks the child that builds a container; Create is answered when it reports.
    pub(crate) fn create(&mut self, ticket: Ticket, plan: &ContainerPlan) -> Result<(), Reply> {
        self.admit(plan)?;
        let log = Log::open(&plan.stdio.log_path).map_err(|error| failed(ErrorCode::Io, &error))?;
        let oom_kills_before = plan.cgroup.oom.as_deref().map_or(0, |dir| cgroup::oom_kills(as_path(dir)));
        let forked = foreign::listen(plan).and_then(|console| {
            let foreign = self.foreign(plan, console)?;
            let joined = self.joined(plan)?;
            let successor = joined.as_ref().map(|_| Successor::new()).transpose()?;
            let joining = joined.as_deref().zip(successor.as_ref());
            let joining = joining.map(|(joined, successor)| Joining { joined, successor });
            let (child, ends) = self.fork_container(plan, Ends::new(plan)?, joining)?;
            Ok((foreign, child, ends, joined, successor))
        });
        let (foreign, child, ends, joined, successor) = match forked {
            Ok(forked) => forked,
            Err(error) => {
                log.discard();
                return Err(failed(ErrorCode::Setup, &error));
            }
        };
        let mut container = Container {
            id: plan.id.clone(),
            cgroup: plan.cgroup.clone(),
            ids: plan.ids.clone(),
            agent: plan.process.seccomp_agent.as_ref().map(|one| one.socket.clone()).unwrap_or_default(),
            owns_pids: plan.pid_namespace == PidNamespace::New && plan.runtime.is_none(),
            on_host_pids: plan.pid_namespace == PidNamespace::Host,
            joined,
            successor,
            child: Some(child),
            root: None,
            status: None,
            outputs: [None, None],
            log,
            stdin: ends.stdin.map(|(_, writer)| writer),
            stdin_once: plan.stdio.stdin_once,
            tty: plan.stdio.tty,
            phase: Phase::Creating(ticket),
            created_at_ns: time::wall_ns(),
            started_at_ns: 0,
            oom_kills_before,
            memory: None,
            survives_at: None,
            killed: false,
            failure: None,
            ended: None,
            look_again: None,
            bury_by: None,
            removers: Vec::new(),
            foreign,
            exec_cgroups: Vec::new(),
        };
        let id = || plan.id.clone();
        let watched = self.watch(ends.status.0, Source::Status(id())).and_then(|status| {
            container.status = Some(status);
            if let Some([out, err]) = ends.output {
                let out = self.watch(out.0, Source::Output(id(), Stream::Out))?;
                let err = self.watch(err.0, Source::Output(id(), Stream::Err))?;
                container.outputs = [Some(out), Some(err)];
            }
            Ok(())
        });
        if let Err(error) = watched {
            // Killed, it is reaped and its Create answered like that of any child that failed.
            container.failure = Some(error.into());
            container.kill();
        }
        self.containers.insert(plan.id.clone(), container);
        Ok(())
    }

    fn admit(&self, plan: &ContainerPlan) -> Result<(), Reply> {
        let id = &plan.id;
        if id.is_empty() || id.contains('/') || id.contains('\0') || id.starts_with('.') {
            return Err(error(ErrorCode::Invalid, format!("container id {id:?} is no file name")));
        }
        if plan.process.argv.first().is_none_or(Vec::is_empty) {
            return Err(error(ErrorCode::Invalid, format!("container {id} has no command")));
        }
        if self.sandbox.is_none() || self.shutdown.is_some() {
            return Err(error(ErrorCode::BadState, "the sandbox is not set up"));
        }
        if self.containers.contains_key(id) {
            return Err(error(ErrorCode::BadState, format!("container {id} exists")));
        }
        Ok(())
    }

    /// Lets a created container run; Start is answered when its status channel closes.
    pub(crate) fn start(&mut self, ticket: Ticket, id: &str) -> Result<(), Reply> {
        let container = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        if container.foreign.is_some() && matches!(container.phase, Phase::Created) {
            return self.start_foreign(ticket, id);
        }
        let state = |what: &str| error(ErrorCode::BadState, format!("container {id} {what}"));
        match (&container.phase, &container.status) {
            (Phase::Created, Some(status)) if container.agent.is_empty() => {
                channel::send_go(status.fd.as_fd()).map_err(|_| state("has ended"))?;
            }
            (Phase::Created, Some(status)) => match socket::connect_stream(as_path(&container.agent)) {
                Ok(agent) => {
                    channel::send_go_with(status.fd.as_fd(), agent.as_fd())
                        .map_err(|_| state("has ended"))?;
                }
                Err(error) => {
                    // Killed, it is reaped and its Start answered like that of any child that failed.
                    container.failure = Some(unreachable_agent(&error));
                    container.kill();
                }
            },
            (Phase::Created | Phase::Exited(_), _) => return Err(state("has ended")),
            (Phase::Creating(_), _) => return Err(state("is not set up yet")),
            (Phase::Starting(_) | Phase::Running, _) => return Err(state("runs already")),
        }
        container.started_at_ns = time::wall_ns();
        container.phase = Phase::Starting(ticket);
        Ok(())
    }

    /// Takes in what a container's child says.
    pub(crate) fn on_status(&mut self, id: &str) {
        while let Some(container) = self.containers.get_mut(id) {
            let Some(status) = &container.status else { return };
            // What comes later may be of another container's making, with which it shares a PID namespace.
            let built = !matches!(container.phase, Phase::Creating(_));
            match channel::receive(status.fd.as_fd()) {
                None => return,
                Some(Status::HandedOver(_) | Status::Root(_) | Status::Ready(_)) if built => {}
                Some(Status::Mounts(_) | Status::Procfs(_)) => {}
                Some(Status::Warning(text)) => crate::report(&format!("container {id}: {text}")),
                Some(Status::Failed(failure)) => container.failure = Some(failure),
                Some(Status::HandedOver(child)) => container.child = Some(child),
                Some(Status::Root(root)) => container.root = Some(root),
                Some(Status::Ready(master)) => self.on_ready(id, master),
                Some(Status::Closed) => self.on_closed(id),
            }
        }
    }

    fn on_ready(&mut self, id: &str, master: Option<OwnedFd>) {
        let terminal = master.map(|fd| self.watch(fd, Source::Output(id.to_owned(), Stream::Out)));
        let Some(container) = self.containers.get_mut(id) else { return };
        match terminal {
            Some(Ok(terminal)) => container.outputs = [Some(terminal), None],
            Some(Err(error)) => {
                container.failure = Some(error.into());
                container.kill();
                return;
            }
            None => {}
        }
        if let (Phase::Creating(ticket), Some(child)) = (&container.phase, &container.child) {
            let (ticket, pid) = (*ticket, child.pid);
            container.phase = Phase::Created;
            self.reply(ticket, &Reply::Created { pid });
        }
    }

    /// Wants to know when the container is out of memory. Without that, what it survives is noticed late.
    fn watch_memory(&mut self, id: &str, dir: &[u8]) {
        let watch = cgroup::watch_memory(as_path(dir));
        match watch.and_then(|fd| self.watch(fd, Source::Memory(id.to_owned()))) {
            Ok(watched) => {
                if let Some(container) = self.containers.get_mut(id) {
                    container.memory = Some(watched);
                }
            }
            Err(error) => crate::report(&format!("container {id}: {error}")),
        }
    }

    /// Something of it is killed about now; whether it is itself is seen a little later.
    pub(crate) fn on_memory(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(memory) = &container.memory {
            cgroup::drain(&memory.fd);
        }
        container.survives_at.get_or_insert_with(|| Instant::now() + SURVIVES);
    }

    /// Its program runs, or it has ended.
    pub(crate) fn on_closed(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.succeed();
        let status = container.status.take();
        if let (Phase::Starting(ticket), None, None) =
            (&container.phase, &container.failure, &container.foreign)
        {
            let (ticket, started_at_ns) = (*ticket, container.started_at_ns);
            container.phase = Phase::Running;
            let pid = container.child.as_ref().map_or(0, |child| child.pid);
            let oom = container.cgroup.oom.clone();
            self.reply(ticket, &Reply::Started { started_at_ns, pid });
            if let Some(dir) = oom {
                self.watch_memory(id, &dir);
            }
        }
        if let Some(status) = status {
            self.unwatch(status);
        }
    }
}

/// The agent that a filter asks is not there.
pub(crate) fn unreachable_agent(error: &sys::SysError) -> Failure {
    Failure {
        kind: ErrorCode::Setup,
        errno: error.errno,
        message: format!("reach the seccomp agent: {error}"),
    }
}
