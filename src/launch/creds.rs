//! From the shim's privileges to the program's, and into the program.

use std::path::Path;

use sys::fd::errno;
use sys::privilege::{self, Capabilities};
use sys::{SysError, exec, fd, filter, poll, process};
use wire::msg::ErrorCode;
use wire::plan::ProcessPlan;

use crate::agent::Handing;
use crate::birth::{Birth, Ending};
use crate::{Failure, schedule};

const DEFAULT_UMASK: u32 = 0o022;
/// `CAP_SYS_ADMIN`.
const LOADS_FILTERS: u64 = 1 << 21;

/// Takes on user, capabilities, limits and the seccomp filter, then runs the program: in this process, or in the one
/// that takes its place.
///
/// Once the filter is in force nothing is called on the way to the program but by the pass, and nothing is freed: a filter
/// may refuse or kill for anything, and what it does is told as the program's end and not as one before its start. Only
/// hooks run under it, and a failure is put into words, which may take memory.
pub(super) fn become_program(plan: &ProcessPlan, ending: &Ending<'_>) -> ! {
    let program = match exec::Program::new(&plan.argv, &plan.env) {
        Ok(program) => program,
        Err(error) => ending.fail(&start_failure(plan, &error)),
    };
    let ready = make_ready(plan, ending);
    if ending.awaits_word && ending.pass.wait_for_word(ending.status).is_none() {
        ending.pass.exit(0);
    }
    if let Err(failure) = &ready {
        ending.fail(failure);
    }
    let error = program.run();
    ending.fail(&not_run(plan, &program, &error))
}

/// Everything but exec.
///
/// Without `no_new_privs` the filter needs `CAP_SYS_ADMIN`: it is loaded when that is all that is left to give up, so
/// that few calls are left for it to see. With `no_new_privs` it is loaded last, but by who makes a process appear in a
/// PID namespace.
fn make_ready(plan: &ProcessPlan, ending: &Ending<'_>) -> Result<(), Failure> {
    process::set_umask(plan.umask.unwrap_or(DEFAULT_UMASK));
    schedule::apply(plan, ending.birth.is_some())?;
    for (resource, soft, hard) in &plan.rlimits {
        process::set_limit(*resource, *soft, *hard)?;
    }
    fd::close_on_exec_from(ending.first_closed)?;
    ending.labels.apply()?;
    let inside = enter_as_root(plan)?;
    let handing = take_privileges(plan, ending, || {
        if !inside {
            exec::enter_directory(&plan.cwd).map_err(|error| directory_failure(plan, &error))?;
        }
        Ok(poll::reset_signals()?)
    })?;
    match &ending.birth {
        Some(birth) => birth.take_place(&ending.pass, ending.status, handing)?,
        None => handing.iter().for_each(Handing::wait),
    }
    if let Some(step) = ending.last_step {
        step()?;
    }
    if plan.no_new_privs
        && !ending.loads_early()
        && let Some(handing) = load_filter(plan, ending)?
    {
        handing.wait();
    }
    Ok(())
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

/// User and capabilities; then what is still to be done, and the filter where it needs a privilege.
pub(super) fn take_privileges(
    plan: &ProcessPlan,
    ending: &Ending<'_>,
    prepare: impl FnOnce() -> Result<(), Failure>,
) -> Result<Option<Handing>, Failure> {
    privilege::limit_bounding_set(plan.bounding)?;
    privilege::set_keep_capabilities()?;
    privilege::set_user(plan.uid, plan.gid, &plan.groups)?;
    if plan.no_new_privs {
        privilege::set_no_new_privileges()?;
    }
    let last =
        Capabilities { effective: plan.effective, permitted: plan.permitted, inheritable: plan.inheritable };
    if plan.seccomp.is_empty() || plan.no_new_privs && !ending.loads_early() {
        privilege::set_capabilities(last)?;
        privilege::set_ambient(plan.ambient)?;
        prepare()?;
        return Ok(None);
    }
    // With the one that loads the filter, so that giving that up is the only call left for the filter to see.
    let (effective, permitted) = (plan.effective | LOADS_FILTERS, plan.permitted | LOADS_FILTERS);
    privilege::set_capabilities(Capabilities { effective, permitted, ..last })?;
    privilege::set_ambient(plan.ambient)?;
    prepare()?;
    let handing = load_filter(plan, ending)?;
    ending.pass.set_capabilities(last)?;
    Ok(handing)
}

/// Nothing happens where the plan has none.
pub(super) fn load_filter(plan: &ProcessPlan, ending: &Ending<'_>) -> Result<Option<Handing>, Failure> {
    if plan.seccomp.is_empty() {
        return Ok(None);
    }
    // Never freed, as that could be a system call: exec does.
    let program: &'static [u8] = ending.filter(plan).leak();
    if let Some(agent) = &ending.agent {
        let enter = || ending.birth.as_ref().map_or(Ok(()), Birth::enter);
        let load = || agent.load((program, plan.seccomp_flags), ending.status, enter).map(Some);
        return match (load(), &ending.birth) {
            // Its thread takes a place, too.
            (Err(failure), Some(birth))
                if failure.errno == errno::EAGAIN && birth.leave(&ending.pass, ending.status) =>
            {
                load()
            }
            (loaded, _) => loaded,
        };
    }
    if plan.seccomp_flags & privilege::NEW_LISTENER != 0 {
        let problem = "load seccomp filter: it asks an agent, and none is named".to_owned();
        return Err(Failure::setup(errno::EINVAL, problem));
    }
    privilege::load_seccomp(program, plan.seccomp_flags)?;
    Ok(None)
}

/// Says more of a program that the kernel does not run, where the filter, which is in force, lets files be looked at.
fn not_run(plan: &ProcessPlan, program: &exec::Program, error: &SysError) -> Failure {
    let failure = start_failure(plan, error);
    if !filter::lets_look(&plan.seccomp) {
        return failure;
    }
    let name = String::from_utf8_lossy(plan.argv.first().map_or(b"", Vec::as_slice));
    let message = match error.errno {
        // The kernel says that the program is not there.
        errno::ENOENT => program.missing_interpreter().map(|missing| {
            format!("exec: \"{name}\": no such file or directory: its interpreter {missing:?} is missing")
        }),
        // The kernel says that it is not permitted, as if that could be.
        errno::EACCES if Path::new(name.as_ref()).is_dir() => {
            Some(format!("exec: \"{name}\": is a directory"))
        }
        _ => None,
    };
    match message {
        Some(message) => Failure { message, ..failure },
        None => failure,
    }
}

/// In the words that users of Kubernetes know from other runtimes.
fn start_failure(plan: &ProcessPlan, error: &SysError) -> Failure {
    let name = String::from_utf8_lossy(plan.argv.first().map_or(b"", Vec::as_slice));
    let message = match error.errno {
        errno::ENOENT if !name.contains('/') => {
            format!("exec: \"{name}\": executable file not found in $PATH")
        }
        other => format!("exec: \"{name}\": {}", sys::errno_text(other).to_lowercase()),
    };
    Failure { kind: ErrorCode::Exec, errno: error.errno, message }
}
