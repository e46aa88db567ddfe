//! The pause: PID 1 of a PID namespace that the pod's containers share. It sees an empty, read-only root, and
//! its program lies on a read-only mount of its own: what containers find at `/proc/1` leads nowhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag, namespace, propagation};
use sys::process::{SIGKILL, SingleThread};
use sys::{exec, fd, mount, poll, privilege, process, resolve, shim_spawn, socket};
use wire::plan::SandboxPlan;

use crate::extras::Extras;
use crate::labels::Labels;
use crate::{Context, Failure, Never, channel, creds, keyring, null, pids, userns};

/// What the fork hands to the child.
pub struct PauseChild<'a> {
    /// The pod's plan.
    pub plan: &'a SandboxPlan,
    /// The child's end of the status channel.
    pub status: &'a OwnedFd,
    /// The null device for its streams.
    pub null: Option<&'a null::Null>,
    /// The pod's user namespace.
    pub userns: Option<BorrowedFd<'a>>,
    /// For another fork, into the user namespace.
    pub single: &'a SingleThread,
}

/// Becomes the pause.
pub fn run(child: &PauseChild<'_>) -> ! {
    let failure = match enter(child) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(child.status.as_fd(), &failure)
}

fn enter(child: &PauseChild<'_>) -> Result<Never, Failure> {
    let PauseChild { plan, status, .. } = *child;
    let program = shim_spawn::read_only_copy(&plan.pause).context("open pause", &plan.pause)?;
    null::set_standard(child.null, &[0, 1, 2])?;
    let mut kept = vec![status.as_raw_fd(), program.as_raw_fd()];
    kept.extend(child.userns.map(|fd| fd.as_raw_fd()));
    kept.extend(failpoint::descriptor());
    fd::close_all_but(&kept)?;
    crate::set_oom_score(status.as_fd(), plan.pause_process.oom_score_adj)?;
    if let Some(userns) = child.userns {
        userns::move_in(userns, status.as_fd(), Some(child.single))?;
    }
    process::new_session()?;
    let labels = Labels::open(&plan.pause_process)?;
    keyring::make(&plan.id, &labels)?;
    mount::classic(b"", b"/", b"", propagation::PRIVATE | propagation::RECURSIVE, b"")?;
    let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
    let root = mount::filesystem(b"tmpfs", b"pause", b"nr_inodes=2,size=4k,mode=555", attributes)?;
    let target = resolve::open(b"/proc", flag::O_PATH | flag::O_DIRECTORY)?;
    let (mounts, procfs) = (resolve::open(b"/proc/self/ns/mnt", flag::O_RDONLY)?, pids::new_procfs()?);
    mount::attach(root.as_fd(), target.as_fd())?;
    mount::pivot_into(root.as_fd(), false)?;
    failpoint::reach!("launch.pause.pivoted")?;
    leave_procfs(status, mounts, procfs)?;
    fd::close_all_on_exec()?;
    let argv = exec::Program::new(&[b"/pause".to_vec()], &[])?;
    labels.apply()?;
    let ending = Extras::default().ending(status, labels, None, None)?;
    creds::take_privileges(&plan.pause_process, &ending, || {
        end_with_the_shim(status)?;
        Ok(poll::reset_signals()?)
    })?;
    if plan.pause_process.no_new_privs {
        creds::load_filter(&plan.pause_process, &ending)?;
    }
    ending.fail(&argv.run_fd(program.as_fd()).into())
}

/// Hands the shim the procfs of this PID namespace, for containers that join it, in a mount namespace that has nothing
/// else. The pause leaves that for its own copy, without a procfs: what containers find there is unmasked.
fn leave_procfs(status: &OwnedFd, mounts: OwnedFd, procfs: OwnedFd) -> Result<(), Failure> {
    mount::attach(procfs.as_fd(), resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?.as_fd())?;
    channel::send_procfs(status.as_fd(), mounts.as_fd(), procfs.as_fd())?;
    drop((mounts, procfs));
    process::unshare(namespace::MOUNT)?;
    // From the root itself, what lies over it is found through its parent, which is itself.
    Ok(mount::detach(b"/..")?)
}

/// Nobody else would ever end a pause whose shim was killed. To be called once the user is changed for good.
fn end_with_the_shim(status: &OwnedFd) -> Result<(), Failure> {
    privilege::set_parent_death_signal(SIGKILL)?;
    // A shim that has ended before the call: the parent's id, 0 out of this PID namespace, does not tell.
    if socket::is_abandoned(status.as_fd()) {
        return Err(Failure::setup(errno::ESRCH, "start pause: the shim has ended".to_owned()));
    }
    Ok(())
}
