//! `exec`: a program beside a container's first one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use launch::channel::{self, Status as Told};
use launch::room::{self, Room};
use launch::{Birthplace, ExecChild, Extras, run_exec};
use oci::caps::CapSet;
use oci::cgroup::Host;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec, User};
use sys::fd::{as_path, duplicate, errno, flag};
use sys::poll::Signals;
use sys::process::{self, Child, Forked, Successor};
use sys::socket;
use wire::plan::{CgroupPlan, ExecPlan, IdMaps};

use crate::args;
use crate::console::Console;
use crate::context::Context;
use crate::create::fork;
use crate::error::{Error, Result};
use crate::state::{Dir, Record};
use crate::status::Status;
use crate::{check, foreground, log, namespaces, stdio};

/// Runs a program; its code, or 0 when detached.
pub(crate) fn exec(context: &Context<'_>, args: &args::Exec) -> Result<u8> {
    stdio::check_preserved(args.preserve_fds)?;
    let (dir, record) = Dir::open(&context.global.root, &args.id)?;
    let host = Host::detect()?;
    match dir.status(&record, Some(&host)) {
        Status::Paused if !args.ignore_paused => {
            return Err(Error::State { operation: "exec in", id: args.id.clone(), status: Status::Paused });
        }
        Status::Stopped => return Err(Error::NotRunning),
        _ => {}
    }
    let mut spec = dir.spec()?;
    let process = process(args, &spec)?;
    check::process(&process)?;
    let terminal = process.terminal().unwrap_or(false);
    let console = Console::new(terminal, args.console_socket.as_ref(), args.detach)?;
    let size = process.console_size();
    spec.set_process(Some(process));
    let plan = plan(&host, &record, &spec, args.preserve_fds)?;
    let signals = if args.detach { None } else { Some(Signals::new()?) };
    check::mapped(&spec)?;
    let ids = oci::plan::ids_of_spec(&spec);
    let may_be_traced = || may_be_traced(&dir, &ids);
    let mut launched = launch(context, args, &record, (&plan, &ids), (terminal, &may_be_traced))?;
    let master = launched.follow(context, &plan.cgroup, (terminal, &may_be_traced));
    // It ends now, and takes a place in the container until it is waited for.
    process::wait(&launched.first);
    let child = take_in(&launched.successor);
    if let (Err(_), Ok(child)) = (&master, &child) {
        process::wait(child);
    }
    let (master, child) = (master?, child?);
    if let Some(path) = &args.pid_file {
        crate::pid_file::write(path, child.pid)?;
    }
    if let Some(master) = &master {
        crate::console::set_size(master.as_fd(), size);
        console.hand_over(master.as_fd())?;
    }
    match signals {
        Some(signals) => {
            foreground::attend(&signals, &child, master.filter(|_| matches!(console, Console::Own)))
        }
        None => Ok(0),
    }
}

fn plan(host: &Host, record: &Record, spec: &Spec, preserved: u32) -> Result<ExecPlan> {
    let mut process = oci::plan::process(spec)?;
    process.scheduler = process.scheduler.filter(wire::plan::SchedulerPlan::is_inherited);
    let mut cgroup = host.joined(&record.cgroup()?);
    cgroup.v2 = cgroup
        .v2
        .map(|dir| sys::cgroup::beside(as_path(&dir), record.pid).into_os_string().into_encoded_bytes());
    if preserved > 0 {
        process.env.push(format!("LISTEN_FDS={preserved}").into_bytes());
    }
    Ok(ExecPlan { container: record.id.clone(), cgroup, process, ..ExecPlan::default() })
}

fn launch(
    context: &Context<'_>,
    args: &args::Exec,
    record: &Record,
    (plan, ids): (&ExecPlan, &IdMaps),
    (tty, may_be_traced): (bool, &dyn Fn() -> bool),
) -> Result<Launched> {
    let init = record.pidfd()?;
    let foreign = namespaces::foreign(record.pid)?;
    let root = format!("/proc/{}/root", record.pid);
    let root = sys::resolve::open(root.as_bytes(), flag::O_PATH | flag::O_DIRECTORY)?;
    let status = socket::message_pair()?;
    let streams = stdio::own()?;
    // The number was the container's while its namespaces and its root were looked at, for the descriptor still reaches it.
    process::signal(init.as_fd(), 0).map_err(|_| Error::NotRunning)?;
    let successor = Successor::new()?;
    let (forked, birthplace) = fork_beside(context, &plan.cgroup, may_be_traced)?;
    match forked {
        Forked::Parent(child) => {
            let is_outside = birthplace == Birthplace::Outside;
            let room =
                if is_outside { Room::left_by(duplicate(child.pidfd.as_fd())?) } else { Room::default() };
            Ok(Launched { first: child, successor, status: status.0, room })
        }
        Forked::Child => run_exec(&ExecChild {
            plan,
            cgroup: &plan.cgroup,
            status: &status.1,
            stdio: if tty { [None, None, None] } else { streams.each_ref().map(Option::as_ref) },
            null: None,
            tty,
            init: init.as_fd(),
            root: root.as_fd(),
            ids,
            birthplace,
            single: &context.single,
            successor: &successor,
            extras: Extras {
                foreign,
                preserved: args.preserve_fds,
                foreign_stdio: true,
                ..Extras::default()
            },
        }),
    }
}

/// The process that runs the program: a child of this one that has not been waited for.
fn take_in(successor: &Successor) -> Result<Child> {
    let ended = || Error::Launch("the process ended while it was set up".to_owned());
    let pid = successor.pid().ok_or_else(ended)?;
    Ok(Child { pid, pidfd: process::pidfd_open(pid)? })
}

/// Forks into the v2 cgroup, or outside where that is full.
fn fork_beside(
    context: &Context<'_>,
    cgroup: &CgroupPlan,
    may_be_traced: &dyn Fn() -> bool,
) -> Result<(Forked, Birthplace)> {
    match fork(&context.single, 0, cgroup.v2.as_deref()) {
        Ok((forked, true)) => Ok((forked, Birthplace::Place)),
        Ok((forked, false)) => Ok((forked, Birthplace::Forker)),
        Err(Error::Sys(error))
            if error.errno == errno::EAGAIN && cgroup.v1.is_empty() && !may_be_traced() =>
        {
            Ok((process::fork(&context.single, 0, None)?, Birthplace::Outside))
        }
        Err(error) => Err(error),
    }
}

/// What is outside of its cgroup for a moment could be kept there, also by others of a PID namespace that is shared.
fn may_be_traced(dir: &Dir, ids: &IdMaps) -> bool {
    let Ok(spec) = dir.spec() else { return true };
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let is_own = namespaces
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none());
    !is_own || oci::plan::process(&spec).map_or(true, |first| room::is_refused(&first, !ids.is_empty()))
}

/// What is on its way to its program.
struct Launched {
    /// What makes it ready.
    first: Child,
    successor: Successor,
    status: OwnedFd,
    room: Room,
}

impl Launched {
    /// Waits until the program runs; its terminal's master.
    fn follow(
        &mut self,
        context: &Context<'_>,
        cgroup: &CgroupPlan,
        (tty, may_be_traced): (bool, &dyn Fn() -> bool),
    ) -> Result<Option<OwnedFd>> {
        let mut master = None;
        loop {
            match channel::receive(self.status.as_fd()) {
                Some(Told::Ready(passed)) => master = passed,
                Some(Told::Warning(text)) => log::warning(context.global, &text),
                Some(Told::Failed(failure)) => return Err(failure.into()),
                Some(Told::Crowded) => self.make_room(cgroup, may_be_traced),
                Some(Told::Closed) if tty && master.is_none() => {
                    return Err(Error::Launch("the process ended while it was set up".to_owned()));
                }
                Some(Told::Closed) => return Ok(master),
                Some(Told::Root(_) | Told::HandedOver(_) | Told::Mounts(_) | Told::Procfs(_)) | None => {}
            }
        }
    }

    fn make_room(&mut self, cgroup: &CgroupPlan, may_be_traced: &dyn Fn() -> bool) {
        let successor = self.successor.pid();
        let pid = successor.unwrap_or(self.first.pid);
        let made = !may_be_traced() && self.room.make(cgroup, pid, successor.is_some()).is_ok();
        // It has ended in the meantime: that is told next.
        let _ = channel::send_room(self.status.as_fd(), made);
    }
}

/// The process: from a file, or the container's own with another program and the options' changes.
fn process(args: &args::Exec, spec: &Spec) -> Result<Process> {
    if let Some(path) = &args.process {
        return read(path);
    }
    if args.command.is_empty() {
        return Err(Error::invalid("command", "is missing"));
    }
    let own = spec.process().clone().ok_or_else(|| Error::invalid("process", "is missing"))?;
    let mut process = own;
    process.set_args(Some(args.command.clone())).set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for entry in &args.env {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        env.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != name));
        env.push(entry.clone());
    }
    process.set_env(Some(env));
    if args.user.is_some() || !args.additional_gids.is_empty() {
        let user = user(args, process.user())?;
        process.set_user(user);
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&mut process, &args.cap)?;
    Ok(process)
}

fn read(path: &Path) -> Result<Process> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    oci::json::read(&text).map_err(Error::json(path))
}

fn user(args: &args::Exec, own: &User) -> Result<User> {
    let mut user = own.clone();
    if let Some(text) = &args.user {
        let (uid, gid) = text.split_once(':').map_or((text.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        let number = |text: &str| {
            text.parse::<u32>().map_err(|_| Error::invalid("--user", format!("{text:?} is not a number")))
        };
        user.set_uid(number(uid)?);
        if let Some(gid) = gid {
            user.set_gid(number(gid)?);
        }
    }
    if !args.additional_gids.is_empty() {
        user.set_additional_gids(Some(args.additional_gids.clone()));
    }
    Ok(user)
}

fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let more = CapSet::parse("--cap", names.iter().map(String::as_str))?;
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<oci_spec::runtime::Capabilities>| {
        Some(CapSet::from_spec(set.as_ref()).union(more).to_spec())
    };
    let (bounding, effective, permitted) =
        (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}
