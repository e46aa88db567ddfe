//! The hooks of a container's plan.

use std::fmt::Write;
use std::time::Duration;

use sys::fd::as_path;
use sys::hook::{self, Hook};
use wire::plan::{HookPlan, HooksPlan};

use crate::Failure;

/// Everything but the root stands.
pub(super) fn before_pivot(plan: Option<&HooksPlan>) -> Result<(), Failure> {
    let Some(plan) = plan else { return Ok(()) };
    let state = state(plan, "creating");
    // While the container is being made there is no mask.
    let umask = Some(hook::UMASK);
    all("createRuntime", &plan.create_runtime, &state, (Some(plan.beside), umask))?;
    all("createContainer", &plan.create_container, &state, (None, umask))
}

/// In the container, as its user.
pub(super) fn before_exec(plan: Option<&HooksPlan>, state: &[u8]) -> Result<(), Failure> {
    plan.map_or(Ok(()), |plan| all("startContainer", &plan.start_container, state, (None, None)))
}

/// The container's state as hooks read it. The host's procfs, in sight until the root changes, knows this process's number.
pub(super) fn state(plan: &HooksPlan, status: &str) -> Vec<u8> {
    let pid = std::fs::read_link("/proc/self").unwrap_or_default();
    let mut text = String::from_utf8_lossy(&plan.state).into_owned();
    // Writing to a string does not fail.
    let _ = write!(text, ",\"status\":\"{status}\",\"pid\":{}}}", pid.display());
    text.into_bytes()
}

/// The first failure ends it.
fn all(
    stage: &str,
    hooks: &[HookPlan],
    state: &[u8],
    (beside, umask): (Option<i32>, Option<u32>),
) -> Result<(), Failure> {
    hooks.iter().try_for_each(|plan| {
        let limit = (plan.timeout_seconds > 0).then(|| Duration::from_secs(plan.timeout_seconds));
        let path = as_path(&plan.path);
        let hook = Hook { path, args: &plan.args, env: &plan.env, limit, beside, umask };
        hook::run(&hook, state)
            .map_err(|problem| Failure::setup(0, format!("{stage} hook {}: {problem}", path.display())))
    })
}
