//! A program of the host that makes or enters a container in the launcher's place: a command of an OCI runtime.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag, namespace, propagation};
use sys::process::SingleThread;
use sys::{SysError, exec, fd, hook, mount, poll, process, resolve, tty};
use wire::plan::{Bytes, ContainerPlan, IdMaps, MountSource, RuntimePlan};

use crate::ground::Ground;
use crate::userns::Mapper;
use crate::{Context, Failure, Never, channel, images, null, rootfs};

/// What runtimes look helpers up by.
const PATH: &[u8] = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the fork hands to the child.
pub struct ForeignChild<'a> {
    /// Program and arguments.
    pub argv: &'a [Bytes],
    /// The working directory: relative paths among the arguments begin there; empty: the root.
    pub directory: &'a [u8],
    /// A process in whose network, IPC and UTS namespaces the program runs, and with it its hooks; the caller's where there is
    /// none.
    pub beside: Option<&'a OwnedFd>,
    /// What the program is to find mounted, in a mount namespace that the fork has made, so that nobody else sees it.
    pub stage: Option<Stage<'a>>,
    /// The child's end of the status channel.
    pub status: &'a OwnedFd,
    /// The child's ends of stdin, stdout and stderr, which the program passes on; the null device where there is none.
    pub stdio: [Option<&'a OwnedFd>; 3],
    /// The null device for streams that are missing; one of its own where there is none.
    pub null: Option<&'a null::Null>,
    /// A terminal of the host takes their place, which the program relays; its master is sent to the shim.
    pub tty: bool,
    /// The columns and rows that it has from the beginning; 0: none yet.
    pub size: (u32, u32),
    /// To whom the streams are given, as the runtime cannot from within a user namespace: user and group.
    pub owner: Option<(u32, u32)>,
}

/// What a runtime finds beside its bundle's files.
pub struct Stage<'a> {
    /// Its root, at the plan's mountpoint, and the images among its mounts.
    pub plan: &'a ContainerPlan,
    /// Where the images and the user namespace appear.
    pub runtime: &'a RuntimePlan,
    /// The pod's user namespace, whose ids the plan has.
    pub userns: Option<BorrowedFd<'a>>,
    /// For forks into user namespaces.
    pub single: &'a SingleThread,
}

/// Becomes the program.
pub fn run(child: &ForeignChild<'_>) -> ! {
    let failure = match launch(child) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(child.status.as_fd(), &failure)
}

fn launch(child: &ForeignChild<'_>) -> Result<Never, Failure> {
    null::set_standard(child.null, &[0, 1, 2])?;
    if let Some(process) = child.beside {
        process::enter(process.as_fd(), namespace::NET | namespace::IPC | namespace::UTS)
            .context("enter the namespaces of", b"the daemon")?;
    }
    for (number, end) in (0..).zip(child.stdio) {
        if let Some(end) = end {
            if let Some((uid, gid)) = child.owner {
                fd::set_owner(end, uid, gid)?;
            }
            fd::set_standard(end.as_fd(), number)?;
        }
    }
    let userns = child.stage.as_ref().and_then(|stage| stage.userns).map(|fd| fd.as_raw_fd());
    let kept: Vec<_> = userns.into_iter().chain([child.status.as_raw_fd()]).collect();
    fd::close_all_but(&kept)?;
    process::new_session()?;
    if child.tty {
        take_terminal(child)?;
    }
    if let Some(stage) = &child.stage {
        set(stage)?;
    }
    fd::close_all_on_exec()?;
    let directory = if child.directory.is_empty() { b"/" } else { child.directory };
    exec::enter_directory(directory).context("enter directory", directory)?;
    poll::reset_signals()?;
    process::set_umask(hook::UMASK);
    let program = exec::Program::new(child.argv, &[PATH.to_vec()])?;
    Err(failed(child, &program.run()))
}

/// Mounts what the program is to find.
fn set(stage: &Stage<'_>) -> Result<(), Failure> {
    let Stage { plan, runtime, userns, single } = stage;
    let root = &plan.rootfs;
    let mut ground = Ground::new(root.propagation, None)?;
    let asked = ground.propagation();
    let mut mapper = Mapper::new(single, userns.map(|userns| (&plan.ids, userns)));
    for (mount, place) in plan.mounts.iter().zip(&runtime.images).filter(|(_, place)| !place.is_empty()) {
        let MountSource::Overlay { layers, label } = &mount.source else { continue };
        let tree = images::overlay(mount, (layers, label), &root.mountpoint, &mut mapper, &mut ground)?;
        attach(tree.as_fd(), &[runtime.directory.as_slice(), b"/", place].concat(), asked)?;
    }
    let Some(userns) = userns else {
        rootfs::assemble(root, &IdMaps::default(), None, &mut ground)?;
        return Ok(());
    };
    let tree = rootfs::assemble(root, &plan.ids, Some(*userns), &mut ground)?;
    attach(tree.as_fd(), &root.mountpoint, asked)?;
    let path = [runtime.directory.as_slice(), b"/", &runtime.user_namespace].concat();
    if asked & propagation::SHARED != 0 {
        rootfs::seclude(&path).context("seclude", &path)?;
    }
    let held = format!("/proc/self/fd/{}", userns.as_raw_fd());
    mount::classic(held.as_bytes(), &path, b"", mount::BIND, b"").context("pin user namespace at", &path)
}

fn attach(tree: BorrowedFd<'_>, path: &[u8], spread: u64) -> Result<(), Failure> {
    if spread & propagation::SHARED != 0 {
        rootfs::seclude(path).context("seclude", path)?;
    }
    let target = resolve::open(path, flag::O_PATH | flag::O_DIRECTORY)?;
    mount::attach(tree, target.as_fd()).context("mount", path)
}

fn take_terminal(child: &ForeignChild<'_>) -> Result<(), Failure> {
    let root = resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?;
    let (master, slave) = tty::open_pair(root.as_fd())?;
    tty::set_first_size(master.as_fd(), child.size);
    tty::set_controlling(slave.as_fd())?;
    for number in 0..=2 {
        fd::set_standard(slave.as_fd(), number)?;
    }
    Ok(channel::send_ready(child.status.as_fd(), Some(master.as_fd()))?)
}

fn failed(child: &ForeignChild<'_>, error: &SysError) -> Failure {
    let name = String::from_utf8_lossy(child.argv.first().map_or(b"", Vec::as_slice));
    let reason = if error.errno == errno::ENOENT {
        "it is not installed".to_owned()
    } else {
        sys::errno_text(error.errno).to_lowercase()
    };
    Failure::setup(error.errno, format!("run the runtime {name}: {reason}"))
}
