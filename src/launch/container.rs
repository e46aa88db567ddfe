//! The first process of a container.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use sys::fd::{errno, flag, namespace};
use sys::pass::Pass;
use sys::process::SingleThread;
use sys::{fd, mount, process, resolve, socket, tty};
use wire::plan::{ContainerPlan, PidNamespace};

use crate::agent::Handover;
use crate::birth::{Birth, Ending};
use crate::channel;
use crate::extras::{Extras, Step};
use crate::ground::Ground;
use crate::groups::Volume;
use crate::labels::Labels;
use crate::pids::Joining;
use crate::userns::{self, Mapper};
use crate::{Failure, Never, creds, devices, hooks, keyring, masks, mounts, null, rootfs};

/// About what it takes until the client knows that a container is created.
const TELLING: Duration = Duration::from_micros(100);

/// What the fork hands to the child.
pub struct ContainerChild<'a> {
    /// The plan.
    pub plan: &'a ContainerPlan,
    /// The child's end of the status channel.
    pub status: &'a OwnedFd,
    /// The reading end of stdin's pipe.
    pub stdin: Option<&'a OwnedFd>,
    /// The writing ends of stdout's and stderr's pipes; with a terminal there are none, and the null device takes the
    /// place of one that is missing.
    pub output: [Option<&'a OwnedFd>; 2],
    /// The null device for streams that are missing; one of its own where there is none.
    pub null: Option<&'a null::Null>,
    /// The fork has placed the child in its v2 cgroup.
    pub joined_v2: bool,
    /// What a caller other than the shim adds.
    pub extras: Extras<'a>,
    /// The pod's user namespace, whose ids the plan has.
    pub userns: Option<BorrowedFd<'a>>,
    /// For another fork, into the user namespace.
    pub single: &'a SingleThread,
    /// The fork has made no mount namespace, as there is a bare one to make it of ([`may_leave_early`](crate::may_leave_early)).
    pub bare: Option<BorrowedFd<'a>>,
    /// For a container that joins a PID namespace: it is built outside of it.
    pub joining: Option<Joining<'a>>,
}

/// Builds the container around the calling process, waits for the word, becomes the program.
pub fn run(child: &ContainerChild<'_>) -> ! {
    let failure = match launch(child) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(child.status.as_fd(), &failure)
}

fn launch(child: &ContainerChild<'_>) -> Result<Never, Failure> {
    let ContainerChild { plan, status, .. } = *child;
    let Built { labels, handover, state } = build(child)?;
    if let Some(start) = child.extras.start {
        socket::accept_into(start, status.as_fd())?;
    }
    let extras = &child.extras;
    if plan.hooks.is_none()
        && extras.before_exec.is_none()
        && extras.start.is_none()
        && child.joining.is_none()
        && handover.is_none()
        && Pass::has_room(&plan.process.seccomp)
    {
        // Whoever gives the word is busy meanwhile with telling that everything stands, and needs this CPU for that.
        socket::wait_readable(status.as_fd(), TELLING);
        let ending = Ending { awaits_word: true, ..extras.ending(status, labels, None, None)? };
        creds::become_program(&plan.process, &ending);
    }
    let Some(go) = channel::wait_for_go(status.as_fd()) else { process::exit(1) };
    let agent = go.agent.as_ref().map(AsRawFd::as_raw_fd);
    let birth = child.joining.as_ref().map(|joining| {
        let asks = handover.is_some();
        let kept = labels.kept().chain([status.as_raw_fd()]).chain(agent);
        join(child, joining, asks, kept.collect())
    });
    let agent = handover.map(|handover| handover.over(go.agent));
    let start = || hooks::before_exec(plan.hooks.as_ref(), &state);
    let own: Option<Step<'_>> = if plan.hooks.is_some() { Some(&start) } else { None };
    let extras = Extras { before_exec: child.extras.before_exec.or(own), ..child.extras };
    creds::become_program(&plan.process, &extras.ending(status, labels, agent, birth.transpose()?)?);
}

/// Enters the PID namespace for the process that becomes the program, or has that done later (`asks`): for the sake of a
/// thread of the agent's. What that process is not to have is closed.
fn join<'a>(
    child: &'a ContainerChild<'_>,
    joining: &'a Joining<'_>,
    asks: bool,
    mut kept: Vec<RawFd>,
) -> Result<Birth<'a>, Failure> {
    let pids = joining.joined.process.as_fd();
    if asks {
        kept.push(pids.as_raw_fd());
    } else {
        process::enter(pids, namespace::PID)?;
    }
    fd::close_all_but(&kept)?;
    Ok(Birth {
        single: child.single,
        successor: joining.successor,
        tty: child.plan.stdio.tty,
        pids: asks.then_some(pids),
        outside: Cell::new(false),
    })
}

/// What is left of building a container.
struct Built {
    labels: Labels,
    handover: Option<Handover>,
    /// As hooks read it.
    state: Vec<u8>,
}

/// Leaves the supervisor for the container's cgroups, namespaces and score. Returns which of the streams are the null
/// device.
fn enter(child: &ContainerChild<'_>) -> Result<Vec<RawFd>, Failure> {
    let ContainerChild { plan, status, extras, .. } = child;
    if let Some(joining) = &child.joining {
        joining.successor.withhold()?;
    }
    let nulls = take_stdio(child)?;
    crate::join_cgroups(&plan.cgroup, child.joined_v2)?;
    extras.join()?;
    let mut kept = extras.kept(status.as_raw_fd());
    kept.extend(child.userns.iter().chain(&child.bare).map(AsRawFd::as_raw_fd));
    kept.extend(child.joining.iter().flat_map(|joining| joining.joined.kept()));
    kept.extend(failpoint::descriptor());
    fd::close_all_but(&kept)?;
    failpoint::reach!("launch.create.joined")?;
    crate::set_oom_score(status.as_fd(), plan.process.oom_score_adj)?;
    extras.name_host()?;
    crate::host::write_sysctls(&plan.sysctls)?;
    Ok(nulls)
}

/// Everything but exec.
fn build(child: &ContainerChild<'_>) -> Result<Built, Failure> {
    let ContainerChild { plan, status, .. } = *child;
    let process = &plan.process;
    let extras = &child.extras;
    let nulls = enter(child)?;
    let mut mapper = Mapper::new(child.single, child.userns.map(|fd| (&plan.ids, fd)));
    let mut ground = Ground::new(plan.rootfs.propagation, child.bare)?;
    let mut sources = mounts::prepare(&plan.rootfs, &plan.mounts, &mut mapper, &mut ground)?;
    failpoint::reach!("launch.create.prepared")?;
    if let Some(joining) = &child.joining {
        joining.joined.supply(&plan.mounts, &mut sources)?;
    }
    let root = rootfs::assemble(&plan.rootfs, &plan.ids, child.userns, &mut ground)?;
    failpoint::reach!("launch.create.assembled")?;
    if let Some(userns) = child.userns {
        let forks = plan.pid_namespace == PidNamespace::New;
        userns::move_in(userns, status.as_fd(), forks.then_some(child.single))?;
        rootfs::place(root.as_fd())?;
    }
    let labels = Labels::open(process)?;
    if !extras.keeps_keyring {
        keyring::make(&plan.id, &labels)?;
    }
    let handover = Handover::new(process, child.joining.is_some())?;
    if plan.new_cgroup_namespace {
        process::unshare(namespace::CGROUP)?;
    }
    if child.joining.is_none() {
        process::new_session()?;
    }
    let root = root.as_fd();
    ground.leave(root)?;
    failpoint::reach!("launch.create.left")?;
    let volumes = mounts::attach_all(root, plan, sources, &ground)?;
    failpoint::reach!("launch.create.attached")?;
    devices::create_all(root, &ground, &plan.devices, &plan.symlinks)?;
    failpoint::reach!("launch.create.devices")?;
    let master = if plan.stdio.tty { Some(open_terminal(root, child)?) } else { None };
    null::take_own(root, &nulls)?;
    masks::apply(root, &ground, &plan.masked_paths, &plan.readonly_paths)?;
    failpoint::reach!("launch.create.masked")?;
    volumes.into_iter().try_for_each(Volume::join)?;
    make_directory(root, &process.cwd)?;
    hooks::before_pivot(plan.hooks.as_ref())?;
    extras.before_pivot()?;
    let state = plan.hooks.as_ref().map(|plan| hooks::state(plan, "created")).unwrap_or_default();
    rootfs::finish(root, &plan.rootfs, !extras.no_pivot)?;
    failpoint::reach!("launch.create.pivoted")?;

    channel::send_root(status.as_fd(), resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?.as_fd())?;
    channel::send_ready(status.as_fd(), master.as_ref().map(AsFd::as_fd))?;
    Ok(Built { labels, handover, state })
}

/// Stdin, stdout and stderr; those of a terminal come later. They belong to the container's user, so that it
/// can open `/dev/stdout`. Returns those that are the null device.
fn take_stdio(child: &ContainerChild<'_>) -> Result<Vec<RawFd>, Failure> {
    let (process, ids) = (&child.plan.process, &child.plan.ids);
    let [stdout, stderr] = child.output;
    let mut nulls = Vec::new();
    for (number, end) in (0..).zip([child.stdin, stdout, stderr]) {
        let Some(end) = end else {
            nulls.push(number);
            continue;
        };
        let owner = (ids.uid_outside(process.uid), ids.gid_outside(process.gid));
        child.extras.give(end, owner)?;
        fd::set_standard(end.as_fd(), number)?;
    }
    if !nulls.is_empty() {
        null::set_standard(child.null, &nulls)?;
    }
    Ok(if child.plan.stdio.tty { Vec::new() } else { nulls })
}

/// The working directory, made where it is missing. One that root may not enter is there, and the program's user may.
fn make_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<(), Failure> {
    match resolve::open_or_create(root, path, true) {
        Err(error) if error.errno != errno::EACCES => Err(error.into()),
        _ => Ok(()),
    }
}

/// A terminal of the container's own devpts becomes stdio and `/dev/console`.
fn open_terminal(root: BorrowedFd<'_>, child: &ContainerChild<'_>) -> Result<OwnedFd, Failure> {
    let (master, slave) = tty::open_pair(root)?;
    fd::set_owner(&slave, child.plan.process.uid, u32::MAX)?;
    let console = resolve::open_or_create(root, b"/dev/console", false)?;
    let tree = mount::clone_tree(Some(slave.as_fd()), b"", false)?;
    mount::attach(tree.as_fd(), console.as_fd())?;
    if child.joining.is_none() {
        tty::set_controlling(slave.as_fd())?;
    }
    for number in 0..=2 {
        fd::set_standard(slave.as_fd(), number)?;
    }
    Ok(master)
}
