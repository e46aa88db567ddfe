//! From the shim's privileges to the program's, and into the program.

use std::borrow::Cow;
use std::path::Path;

use sys::fd::errno;
use sys::privilege::{self, Capabilities};
use sys::{SysError, exec, fd, poll, process};
use wire::msg::ErrorCode;
use wire::plan::ProcessPlan;

use crate::agent::Handing;
use crate::birth::{Birth, Ending};
use crate::{Failure, Never};

const DEFAULT_UMASK: u32 = 0o022;
/// `CAP_SYS_ADMIN`.
const LOADS_FILTERS: u64 = 1 << 21;

/// Takes on user, capabilities, limits and the seccomp filter, then runs the program: in this process, or in the one
/// that takes its place.
pub(super) fn become_program(plan: &ProcessPlan, ending: &Ending<'_>) -> Result<Never, Failure> {
    let ready = make_ready(plan, ending);
    if ending.awaits_word && !ending.pass.wait_for_word(ending.status) {
        ending.pass.exit();
    }
    Err(start_failure(plan, &ready?.run()))
}

/// Everything but exec.
///
/// Without `no_new_privs` the filter needs `CAP_SYS_ADMIN`: it is loaded when that is all that is left to give up, so
/// that few calls are left for it to see. With `no_new_privs` it is loaded last.
fn make_ready(plan: &ProcessPlan, ending: &Ending<'_>) -> Result<exec::Program, Failure> {
    let program = exec::Program::new(&plan.argv, &plan.env).map_err(|error| start_failure(plan, &error))?;
    process::set_umask(plan.umask.unwrap_or(DEFAULT_UMASK));
    for (resource, soft, hard) in &plan.rlimits {
        process::set_limit(*resource, *soft, *hard)?;
    }
    fd::close_on_exec_from(ending.first_closed)?;
    ending.labels.apply()?;
    let inside = enter_as_root(plan)?;
    let handing = take_privileges(plan, Some(ending))?;
    match &ending.birth {
        Some(birth) => birth.take_place(&ending.pass, handing)?,
        None => handing.iter().for_each(Handing::wait),
    }
    if !inside {
        exec::enter_directory(&plan.cwd).map_err(|error| directory_failure(plan, &error))?;
    }
    poll::reset_signals()?;
    if let Some(step) = ending.last_step {
        step()?;
    }
    if plan.no_new_privs
        && !plan.seccomp.is_empty()
        && !ending.loads_early()
        && let Some(handing) = load_filter(plan, Some(ending))?
    {
        handing.wait();
    }
    Ok(program)
}

/// A directory that only root may enter is entered before the user changes; `false` for one that only the user may.
fn enter_as_root(plan: &ProcessPlan) -> Result<bool, Failure> {
    match exec::enter_directory(&plan.cwd) {
        Err(error) if matches!(error.errno, errno::EACCES | errno::EPERM) => Ok(false),
        Err(error) => Err(directory_failure(plan, &error)),
        Ok(()) => Ok(true),
    }
}

fn directory_failure(plan: &ProcessPlan, error: &SysError) -> Failure {
    let name = String::from_utf8_lossy(&plan.cwd);
    let message = format!("enter working directory {name}: {error}");
    Failure { kind: ErrorCode::Exec, errno: error.errno, message }
}

/// The same without a program to look for: for the pause, which has no ending.
pub(super) fn take_privileges(
    plan: &ProcessPlan,
    ending: Option<&Ending<'_>>,
) -> Result<Option<Handing>, Failure> {
    privilege::limit_bounding_set(plan.bounding)?;
    privilege::set_keep_capabilities()?;
    privilege::set_user(plan.uid, plan.gid, &plan.groups)?;
    if plan.no_new_privs {
        privilege::set_no_new_privileges()?;
    }
    let last =
        Capabilities { effective: plan.effective, permitted: plan.permitted, inheritable: plan.inheritable };
    let is_early = !plan.no_new_privs || ending.is_some_and(Ending::loads_early);
    if plan.seccomp.is_empty() || !is_early {
        privilege::set_capabilities(last)?;
        privilege::set_ambient(plan.ambient)?;
        return Ok(None);
    }
    // All but the one that loads the filter, so that giving that up is the only call left for the filter to see.
    let permitted = plan.permitted | LOADS_FILTERS;
    privilege::set_capabilities(Capabilities { effective: LOADS_FILTERS, permitted, ..last })?;
    privilege::set_ambient(plan.ambient)?;
    let handing = load_filter(plan, ending)?;
    match ending {
        Some(ending) => ending.pass.set_capabilities(last)?,
        None => privilege::set_capabilities(last)?,
    }
    Ok(handing)
}

fn load_filter(plan: &ProcessPlan, ending: Option<&Ending<'_>>) -> Result<Option<Handing>, Failure> {
    let program = ending.map_or(Cow::Borrowed(plan.seccomp.as_slice()), |ending| ending.filter(plan));
    if let Some((agent, status)) = ending.and_then(|ending| Some((ending.agent.as_ref()?, ending.status))) {
        let birth = ending.and_then(|ending| ending.birth.as_ref());
        let enter = || birth.map_or(Ok(()), Birth::enter);
        // Never freed, as that could be a system call: exec does.
        let program: &'static [u8] = Box::leak(program.into_owned().into_boxed_slice());
        return agent.load((program, plan.seccomp_flags), status, enter).map(Some);
    }
    if plan.seccomp_flags & privilege::NEW_LISTENER != 0 {
        let problem = "load seccomp filter: it asks an agent, and none is named".to_owned();
        return Err(Failure::setup(errno::EINVAL, problem));
    }
    privilege::load_seccomp(&program, plan.seccomp_flags)?;
    Ok(None)
}

/// In the words that users of Kubernetes know from other runtimes.
fn start_failure(plan: &ProcessPlan, error: &SysError) -> Failure {
    let name = String::from_utf8_lossy(plan.argv.first().map_or(b"", Vec::as_slice));
    let message = match error.errno {
        errno::ENOENT if !name.contains('/') => {
            format!("exec: \"{name}\": executable file not found in $PATH")
        }
        // The kernel says that it is not permitted, as if that could be.
        errno::EACCES if Path::new(name.as_ref()).is_dir() => format!("exec: \"{name}\": is a directory"),
        other => format!("exec: \"{name}\": {}", sys::errno_text(other).to_lowercase()),
    };
    Failure { kind: ErrorCode::Exec, errno: error.errno, message }
}
