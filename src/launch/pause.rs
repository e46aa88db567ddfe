//! The pause: PID 1 of a PID namespace that the pod's containers share. It sees an empty, read-only root, and
//! its program lies on a read-only mount of its own: what containers find at `/proc/1` leads nowhere.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use sys::fd::{errno, flag, propagation};
use sys::{exec, fd, mount, poll, privilege, process, resolve, shim_spawn, socket};
use wire::plan::SandboxPlan;

use crate::{Context, Failure, Never, creds};

const SIGKILL: i32 = 9;

/// Becomes the pause.
pub fn run(plan: &SandboxPlan, status: &OwnedFd) -> ! {
    let failure = match enter(plan, status) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(status.as_fd(), &failure)
}

fn enter(plan: &SandboxPlan, status: &OwnedFd) -> Result<Never, Failure> {
    let program = shim_spawn::read_only_copy(&plan.pause).context("open pause", &plan.pause)?;
    crate::null_stdio(&[0, 1, 2])?;
    fd::close_all_but(&[status.as_raw_fd(), program.as_raw_fd()])?;
    process::new_session()?;
    crate::set_oom_score(status.as_fd(), plan.pause_process.oom_score_adj)?;
    mount::classic(b"", b"/", b"", propagation::PRIVATE | propagation::RECURSIVE, b"")?;
    let attributes = mount::READ_ONLY | mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;
    let root = mount::filesystem(b"tmpfs", b"pause", b"nr_inodes=2,size=4k,mode=555", attributes)?;
    let target = resolve::open(b"/proc", flag::O_PATH | flag::O_DIRECTORY)?;
    mount::attach(root.as_fd(), target.as_fd())?;
    mount::pivot_into(root.as_fd(), false)?;
    fd::close_all_on_exec()?;
    let argv = exec::Program::new(&[b"/pause".to_vec()], &[])?;
    creds::take_privileges(&plan.pause_process)?;
    end_with_the_shim(status)?;
    poll::reset_signals()?;
    if plan.pause_process.no_new_privs && !plan.pause_process.seccomp.is_empty() {
        privilege::load_seccomp(&plan.pause_process.seccomp, plan.pause_process.seccomp_flags)?;
    }
    Err(argv.run_fd(program.as_fd()).into())
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
