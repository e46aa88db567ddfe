//! `create`: everything up to the point where only exec is missing.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use launch::channel::{self, Status as Told};
use launch::{ContainerChild, Extras, Failure, run_container};
use oci::cgroup::{CgroupPath, Host, Resources};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use sys::fd::{errno, flag, namespace};
use sys::process::{self, Child, Forked, SIGKILL, SingleThread};
use sys::{resolve, socket};
use wire::plan::{ContainerPlan, PidNamespace, Stdio};

use crate::args;
use crate::console::Console;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::hooks::{self, Stage};
use crate::namespaces::Namespaces;
use crate::state::{Dir, Record};
use crate::status::Status;
use crate::{bundle, check, log, state, stdio, time};

/// A container that waits to be started.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) dir: Dir,
    pub(crate) record: Record,
    pub(crate) child: Child,
    /// The terminal's master, where this process relays it.
    pub(crate) master: Option<OwnedFd>,
}

/// Makes a container of a bundle. A failure leaves nothing behind.
pub(crate) fn create(context: &Context<'_>, args: &args::Create, detach: bool) -> Result<Created> {
    stdio::check_preserved(args.preserve_fds)?;
    let (bundle, mut spec) = bundle::load(&args.bundle)?;
    check::spec(&spec)?;
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    let console = Console::new(terminal, args.console_socket.as_ref(), detach)?;
    let cgroup = cgroup_path(&spec, &args.id)?;
    let host = Host::detect()?;
    let namespaces = Namespaces::open(&mut spec, &context.single)?;
    check::mapped(&spec)?;
    let dir = Dir::make(&context.global.root, &args.id)?;
    let making = Making { context, args, bundle, spec, console, namespaces, cgroup, host, dir };
    match making.build() {
        Ok((record, child, master)) => Ok(Created { dir: making.dir, record, child, master }),
        Err(error) => {
            making.undo();
            Err(error)
        }
    }
}

/// Where the container's processes are counted and limited.
fn cgroup_path(spec: &Spec, id: &str) -> Result<CgroupPath> {
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let path = given.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| id.to_owned());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    Ok(CgroupPath::parse("linux.cgroupsPath", &path)?)
}

/// A container under construction, everything about it decided.
struct Making<'a> {
    context: &'a Context<'a>,
    args: &'a args::Create,
    bundle: PathBuf,
    spec: Spec,
    console: Console,
    namespaces: Namespaces,
    cgroup: CgroupPath,
    host: Host,
    dir: Dir,
}

impl Making<'_> {
    fn build(&self) -> Result<(Record, Child, Option<OwnedFd>)> {
        let plan = self.plan()?;
        let start = self.dir.with_socket(socket::listen_messages)?;
        let status = socket::message_pair()?;
        let hooks = self.has_hooks().then(socket::message_pair).transpose()?;
        let mut child =
            self.fork(&plan, start.as_fd(), &status.1, hooks.as_ref().map(|(_, theirs)| theirs))?;
        drop(status.1);
        match self.follow(&mut child, status.0.as_fd(), hooks.map(|(ours, _)| ours)) {
            Ok((record, master)) => Ok((record, child, master)),
            Err(error) => {
                // It has ended by itself, or it is to end now.
                let _ = process::signal(child.pidfd.as_fd(), SIGKILL);
                while process::reap().is_none() && state::process(child.pid).is_some() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(error)
            }
        }
    }

    /// The launch plan; makes the cgroup.
    fn plan(&self) -> Result<ContainerPlan> {
        let linux = self.spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let resources = resources.map(Resources::from_spec).transpose()?.unwrap_or_default();
        let inputs = |cgroup| oci::plan::PlanInputs {
            id: &self.args.id,
            stdio: Stdio::default(),
            cgroup,
            pid_namespace: self.pid_namespace(),
            root: oci::plan::RootSource::Directory,
            images: &[],
        };
        let mut plan = oci::plan::container(&self.spec, &inputs(wire::plan::CgroupPlan::default()))?;
        plan.cgroup = self.host.create(&self.cgroup, &resources)?;
        if self.args.preserve_fds > 0 {
            plan.process.env.push(format!("LISTEN_FDS={}", self.args.preserve_fds).into_bytes());
        }
        Ok(plan)
    }

    /// What is left to do for the launcher: only with a user namespace it is not the fork that makes the namespace.
    fn pid_namespace(&self) -> PidNamespace {
        let own = self.namespaces.user.is_some() && self.namespaces.makes(namespace::PID);
        if own { PidNamespace::New } else { PidNamespace::Host }
    }

    fn has_hooks(&self) -> bool {
        let stages = [Stage::Prestart, Stage::CreateRuntime, Stage::CreateContainer, Stage::StartContainer];
        stages.into_iter().any(|stage| !hooks::of(&self.spec, stage).is_empty())
    }

    fn fork(
        &self,
        plan: &ContainerPlan,
        start: BorrowedFd<'_>,
        status: &OwnedFd,
        hooks: Option<&OwnedFd>,
    ) -> Result<Child> {
        if let Some(pids) = &self.namespaces.pid {
            process::enter(pids.as_fd(), namespace::PID)?;
        }
        let streams = stdio::own()?;
        let joins = self.namespaces.joins();
        let (forked, joined_v2) =
            fork(&self.context.single, self.namespaces.forked(), plan.cgroup.v2.as_deref())?;
        match forked {
            Forked::Parent(child) => Ok(child),
            Forked::Child => {
                // The modes of device nodes are meant exactly, whoever calls.
                process::set_umask(0);
                let steps = Steps { making: self, hooks, pid: Cell::new(0) };
                let held: Vec<BorrowedFd<'_>> = hooks.iter().map(|fd| fd.as_fd()).collect();
                let [stdin, stdout, stderr] = &streams;
                let output = if plan.stdio.tty { [None; 2] } else { [stdout.as_ref(), stderr.as_ref()] };
                run_container(&ContainerChild {
                    plan,
                    status,
                    userns: self.namespaces.user.as_ref().map(AsFd::as_fd),
                    single: &self.context.single,
                    bare: None,
                    joining: None,
                    stdin: stdin.as_ref().filter(|_| !plan.stdio.tty),
                    output,
                    null: None,
                    joined_v2,
                    extras: Extras {
                        joins: &joins,
                        foreign: 0,
                        hostname: text(self.spec.hostname()),
                        domainname: text(self.spec.domainname()),
                        keeps_keyring: self.args.no_new_keyring,
                        start: Some(start),
                        preserved: self.args.preserve_fds,
                        held: &held,
                        no_pivot: self.args.no_pivot,
                        foreign_stdio: true,
                        agent: None,
                        before_pivot: Some(&|| steps.before_pivot()),
                        before_exec: Some(&|| steps.before_exec()),
                    },
                })
            }
        }
    }

    /// Accompanies the child until it waits to be started.
    fn follow(
        &self,
        child: &mut Child,
        status: BorrowedFd<'_>,
        hooks: Option<OwnedFd>,
    ) -> Result<(Record, Option<OwnedFd>)> {
        if self.pid_namespace() == PidNamespace::New {
            *child = self.successor(status)?;
        }
        let record = self.record(child.pid);
        if let Some(hooks) = hooks
            && socket::receive(hooks.as_fd(), &mut [0; 1])?.0 == 1
        {
            let told = record.json(Status::Creating)?;
            hooks::run(&self.spec, Stage::Prestart, &told)?;
            hooks::run(&self.spec, Stage::CreateRuntime, &told)?;
            socket::send(hooks.as_fd(), &child.pid.to_ne_bytes(), None)?;
        }
        let master = loop {
            if let Told::Ready(master) = self.hear(status)? {
                break master;
            }
        };
        self.dir.write(&record, &self.spec)?;
        if let Some(path) = &self.args.pid_file {
            crate::pid_file::write(path, child.pid)?;
        }
        if let Some(master) = &master {
            let process = self.spec.process().as_ref();
            crate::console::set_size(
                master.as_fd(),
                process.and_then(oci_spec::runtime::Process::console_size),
            );
            self.console.hand_over(master.as_fd())?;
        }
        Ok((record, master.filter(|_| matches!(self.console, Console::Own))))
    }

    /// The process in whose favour the first one ends, once it has entered the user namespace.
    fn successor(&self, status: BorrowedFd<'_>) -> Result<Child> {
        loop {
            if let Told::HandedOver(child) = self.hear(status)? {
                return Ok(child);
            }
        }
    }

    /// The child's next message that is no warning.
    fn hear(&self, status: BorrowedFd<'_>) -> Result<Told> {
        loop {
            match channel::receive(status) {
                Some(Told::Warning(text)) => log::warning(self.context.global, &text),
                Some(Told::Failed(failure)) => return Err(failure.into()),
                Some(Told::Closed) => {
                    return Err(Error::Launch("the process ended while it was set up".to_owned()));
                }
                Some(told) => return Ok(told),
                None => {}
            }
        }
    }

    fn record(&self, pid: i32) -> Record {
        let kind = |one: &oci_spec::runtime::LinuxNamespace| {
            one.typ() == LinuxNamespaceType::Pid && one.path().is_none()
        };
        let namespaces = self.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        Record {
            id: self.args.id.clone(),
            oci_version: self.spec.version().clone(),
            bundle: self.bundle.clone(),
            rootfs: self.spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default(),
            pid,
            start_time: state::process(pid).map_or(0, |(_, start)| start),
            created: time::now(),
            cgroup: self.cgroup.to_string(),
            owns_pids: namespaces.into_iter().flatten().any(kind),
            annotations: self.spec.annotations().clone().unwrap_or_default(),
        }
    }

    /// Goes on past failures: what is left is told, and the first error is the one that counts.
    fn undo(&self) {
        let told = |error: Error| log::warning(self.context.global, &format!("while undoing: {error}"));
        if let Err(error) = self.host.kill(&self.cgroup).and_then(|()| self.host.remove(&self.cgroup)) {
            told(error.into());
        }
        if let Err(error) = self.dir.remove() {
            told(error);
        }
    }
}

fn text(name: &Option<String>) -> &[u8] {
    name.as_deref().unwrap_or_default().as_bytes()
}

/// Forks into new namespaces and, where that is possible, into a v2 cgroup; `false`: the child joins by itself.
pub(crate) fn fork(single: &SingleThread, made: i32, cgroup: Option<&[u8]>) -> Result<(Forked, bool)> {
    let dir = cgroup.map(|dir| resolve::open(dir, flag::O_PATH | flag::O_DIRECTORY)).transpose()?;
    if let Some(dir) = &dir {
        match process::fork(single, made, Some(dir.as_fd())) {
            Err(error) if !matches!(error.errno, errno::EAGAIN | errno::ENOMEM) => {}
            other => return Ok(other.map(|forked| (forked, true))?),
        }
    }
    Ok(process::fork(single, made, None).map(|forked| (forked, false))?)
}

/// What is done in the child.
struct Steps<'a> {
    making: &'a Making<'a>,
    hooks: Option<&'a OwnedFd>,
    /// The child's number on the host, once the parent has told it.
    pid: Cell<i32>,
}

impl Steps<'_> {
    fn before_pivot(&self) -> std::result::Result<(), Failure> {
        if self.making.namespaces.makes(namespace::NET) {
            sys::netns::bring_up_loopback()?;
        }
        let Some(hooks) = self.hooks else { return Ok(()) };
        socket::send(hooks.as_fd(), &[1], None)?;
        let mut pid = [0; 4];
        if socket::receive(hooks.as_fd(), &mut pid)?.0 != pid.len() {
            return Err(Failure::setup(errno::ESRCH, "a hook of the runtime failed".to_owned()));
        }
        self.pid.set(i32::from_ne_bytes(pid));
        self.run(Stage::CreateContainer, Status::Creating)
    }

    fn before_exec(&self) -> std::result::Result<(), Failure> {
        self.run(Stage::StartContainer, Status::Created)
    }

    fn run(&self, stage: Stage, status: Status) -> std::result::Result<(), Failure> {
        if hooks::of(&self.making.spec, stage).is_empty() {
            return Ok(());
        }
        let record = self.making.record(self.pid.get());
        let told = record.json(status).and_then(|told| hooks::run(&self.making.spec, stage, &told));
        told.map_err(|error| Failure::setup(0, error.to_string()))
    }
}
