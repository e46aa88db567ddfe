//! From the shim's privileges to the program's, and into the program.

use sys::fd::errno;
use sys::privilege::{self, Capabilities};
use sys::{SysError, exec, fd, poll, process};
use wire::msg::ErrorCode;
use wire::plan::ProcessPlan;

use crate::extras::Ending;
use crate::{Context, Failure, Never};

const DEFAULT_UMASK: u32 = 0o022;

/// Takes on user, capabilities, limits and the seccomp filter, then runs the program.
///
/// Without `no_new_privs` the filter needs `CAP_SYS_ADMIN`: it is loaded after the user has changed, while
/// the capabilities are still kept, so that few calls are left for it to see. With `no_new_privs` it is
/// loaded last.
pub(super) fn become_program(plan: &ProcessPlan, ending: &Ending<'_>) -> Result<Never, Failure> {
    let program = exec::Program::new(&plan.argv, &plan.env).map_err(|error| start_failure(plan, &error))?;
    process::set_umask(plan.umask.unwrap_or(DEFAULT_UMASK));
    for (resource, soft, hard) in &plan.rlimits {
        process::set_limit(*resource, *soft, *hard)?;
    }
    fd::close_on_exec_from(ending.first_closed)?;
    ending.labels.apply()?;
    take_privileges(plan, Some(ending))?;
    exec::enter_directory(&plan.cwd).context("enter working directory", &plan.cwd).map_err(as_exec)?;
    poll::reset_signals()?;
    if let Some(step) = ending.last_step {
        step()?;
    }
    if plan.no_new_privs && !plan.seccomp.is_empty() {
        load_filter(plan, Some(ending))?;
    }
    Err(start_failure(plan, &program.run()))
}

/// The same without a program to look for: for the pause, which has no ending.
pub(super) fn take_privileges(plan: &ProcessPlan, ending: Option<&Ending<'_>>) -> Result<(), Failure> {
    privilege::limit_bounding_set(plan.bounding)?;
    privilege::set_keep_capabilities()?;
    privilege::set_user(plan.uid, plan.gid, &plan.groups)?;
    if plan.no_new_privs {
        privilege::set_no_new_privileges()?;
    } else if !plan.seccomp.is_empty() {
        let held = privilege::capabilities()?;
        privilege::set_capabilities(Capabilities { effective: held.permitted, ..held })?;
        load_filter(plan, ending)?;
    }
    privilege::set_capabilities(Capabilities {
        effective: plan.effective,
        permitted: plan.permitted,
        inheritable: plan.inheritable,
    })?;
    privilege::set_ambient(plan.ambient)?;
    Ok(())
}

fn load_filter(plan: &ProcessPlan, ending: Option<&Ending<'_>>) -> Result<(), Failure> {
    if let Some((agent, status)) = ending.and_then(|ending| Some((ending.agent.as_ref()?, ending.status))) {
        return agent.load(plan, status);
    }
    if plan.seccomp_flags & privilege::NEW_LISTENER != 0 {
        let problem = "load seccomp filter: it asks an agent, and none is named".to_owned();
        return Err(Failure::setup(errno::EINVAL, problem));
    }
    privilege::load_seccomp(&plan.seccomp, plan.seccomp_flags)?;
    Ok(())
}

fn as_exec(failure: Failure) -> Failure {
    Failure { kind: ErrorCode::Exec, ..failure }
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
