//! The pod's own part.

use super::sysctl::{Own, Sysctls};
use crate::caps::CapSet;
use crate::error::{OciError, OciResult};
use crate::users::{self, ResolvedUser};
use crate::{apparmor, seccomp};
use model::{NamespaceMode, SandboxConfig, SandboxId, Seccomp, User};
use std::path::Path;
use wire::plan::{CgroupPlan, ProcessPlan, SandboxPlan};

/// Nobody: who the pause is when nobody says otherwise.
const NOBODY: u32 = 65_534;

/// What a pod's plan is made of.
#[derive(Debug, Clone)]
pub struct SandboxInputs<'a> {
    /// The pod's id.
    pub id: &'a SandboxId,
    /// The pod's request.
    pub config: &'a SandboxConfig,
    /// The pinned network namespace; `None`: the host's.
    pub netns: Option<&'a Path>,
    /// What is written when the namespaces are there, from [`super::pod_sysctls`].
    pub sysctls: Sysctls,
    /// The pod's hostname.
    pub hostname: &'a str,
    /// From [`crate::cgroup::Host::create_sandbox`].
    pub cgroup: CgroupPlan,
    /// The pause's binary, used when the pod shares a PID namespace.
    pub pause: &'a Path,
    /// Where exit records go.
    pub exits: &'a Path,
    /// The shim's own; -999 keeps it alive as long as anything.
    pub oom_score_adj: i32,
    /// What the pause is labelled with (SELinux); empty: with nothing.
    pub label: &'a str,
}

/// The plan of a pod.
///
/// # Errors
/// [`OciError::Invalid`] naming the field.
pub fn sandbox(inputs: &SandboxInputs<'_>) -> OciResult<SandboxPlan> {
    let linux = &inputs.config.linux;
    let namespaces = &linux.security.namespaces;
    for (field, mode) in [("network", namespaces.network), ("ipc", namespaces.ipc)] {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            let field = format!("linux.security_context.namespace_options.{field}");
            return Err(OciError::invalid(field, "must be POD or NODE"));
        }
    }
    let own = Own::of(inputs.config);
    if own.network != inputs.netns.is_some() {
        return Err(OciError::invalid("network namespace", "does not fit the namespace options"));
    }
    let hostname = if own.uts { valid_hostname(inputs.hostname)? } else { Vec::new() };
    let shares_pid = namespaces.pid == NamespaceMode::Pod;
    Ok(SandboxPlan {
        id: inputs.id.as_str().to_owned(),
        netns: inputs.netns.map(super::bytes).unwrap_or_default(),
        new_ipc: own.ipc,
        new_uts: own.uts,
        hostname,
        sysctls: inputs.sysctls.clone(),
        cgroup: inputs.cgroup.clone(),
        pause: if shares_pid { super::bytes(inputs.pause) } else { Vec::new() },
        pause_process: if shares_pid { pause_process(inputs)? } else { ProcessPlan::default() },
        exits: super::bytes(inputs.exits),
        oom_score_adj: inputs.oom_score_adj,
        ids: super::ids::of_pod(namespaces.users.as_ref()),
    })
}

/// The pause has no capabilities and no way to get any; its filter is the built-in one unless the pod says
/// otherwise.
fn pause_process(inputs: &SandboxInputs<'_>) -> OciResult<ProcessPlan> {
    let security = &inputs.config.linux.security;
    let user = pause_user(inputs)?;
    let confined = !security.privileged && security.seccomp != Some(Seccomp::Unconfined);
    let filter =
        if confined { Some(seccomp::program(&seccomp::default_profile(CapSet::EMPTY)?)?) } else { None };
    Ok(ProcessPlan {
        // Its program needs neither arguments nor an environment, and no capability.
        argv: Vec::new(),
        env: Vec::new(),
        umask: None,
        bounding: 0,
        effective: 0,
        permitted: 0,
        inheritable: 0,
        ambient: 0,
        rlimits: Vec::new(),
        seccomp_agent: None,
        io_priority: 0,
        scheduler: None,
        memory_policy: None,
        cwd: b"/".to_vec(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        no_new_privs: true,
        oom_score_adj: Some(inputs.oom_score_adj),
        seccomp: filter.as_ref().map(|filter| filter.bpf.to_vec()).unwrap_or_default(),
        seccomp_flags: filter.map_or(0, |filter| filter.flags),
        apparmor: apparmor::profile(security.apparmor.as_ref(), security.privileged)?
            .unwrap_or_default()
            .into_bytes(),
        selinux: inputs.label.as_bytes().to_vec(),
    })
}

fn pause_user(inputs: &SandboxInputs<'_>) -> OciResult<ResolvedUser> {
    let security = &inputs.config.linux.security;
    let users = security.namespaces.users.as_ref();
    let nobody = match users {
        Some(users) if users.uids.on_host(NOBODY).and(users.gids.on_host(NOBODY)).is_none() => 0,
        _ => NOBODY,
    };
    let uid = match &security.user {
        None => nobody,
        Some(User::Uid(uid)) => *uid,
        Some(User::Name(name)) => name.parse().map_err(|_| {
            OciError::invalid("linux.security_context.run_as_user", "a pod has no image to look up a name in")
        })?,
    };
    let gid = security.group.unwrap_or(if security.user.is_none() { nobody } else { 0 });
    let mut groups = vec![gid];
    groups.extend(&security.supplemental_groups);
    Ok(ResolvedUser { uid, gid, groups: users::each_once(groups)?, ..ResolvedUser::default() })
}

fn valid_hostname(name: &str) -> OciResult<Vec<u8>> {
    if name.len() > 64 {
        return Err(OciError::invalid("hostname", "is longer than the kernel's 64 bytes"));
    }
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    if !name.bytes().all(known) {
        return Err(OciError::invalid("hostname", format!("{name:?} has characters that no host name has")));
    }
    Ok(name.as_bytes().to_vec())
}
