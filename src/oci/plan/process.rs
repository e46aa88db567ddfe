//! A process as the kernel takes it.

use crate::caps::CapSet;
use crate::error::{OciError, OciResult};
use crate::plan::schedule;
use crate::seccomp;
use oci_spec::runtime::{Capabilities, LinuxCapabilities, PosixRlimit, PosixRlimitType, Spec};
use sys::process::resource;
use wire::plan::{Bytes, ProcessPlan};

/// The first process of a container, with its compiled filter. An exec's is the same but for the arguments.
///
/// # Errors
/// [`OciError::Invalid`] when the spec has none, or one that the launcher cannot start.
pub fn process(spec: &Spec) -> OciResult<ProcessPlan> {
    let process = spec.process().as_ref().ok_or_else(|| OciError::invalid("spec.process", "is missing"))?;
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    crate::users::check_count("spec.process.user.additionalGids", &groups)?;
    let sets = process.capabilities().as_ref();
    let bits = |set: Option<&Capabilities>| CapSet::from_spec(set).bits();
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(seccomp::program).transpose()?;
    let owned = |list: Option<&Vec<String>>| -> Vec<Bytes> {
        list.into_iter().flatten().map(|text| text.clone().into_bytes()).collect()
    };
    Ok(ProcessPlan {
        argv: owned(process.args().as_ref()),
        env: owned(process.env().as_ref()),
        cwd: super::bytes(process.cwd()),
        uid: user.uid(),
        gid: user.gid(),
        groups,
        umask: user.umask(),
        bounding: bits(sets.and_then(|sets| sets.bounding().as_ref())),
        effective: bits(sets.and_then(|sets| sets.effective().as_ref())),
        permitted: bits(sets.and_then(|sets| sets.permitted().as_ref())),
        inheritable: bits(sets.and_then(|sets| sets.inheritable().as_ref())),
        ambient: ambient(sets),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        rlimits: process.rlimits().iter().flatten().map(rlimit).collect(),
        seccomp: filter.as_ref().map(|filter| filter.bpf.to_vec()).unwrap_or_default(),
        seccomp_flags: filter.map_or(0, |filter| filter.flags),
        apparmor: process.apparmor_profile().clone().unwrap_or_default().into_bytes(),
        selinux: process.selinux_label().clone().unwrap_or_default().into_bytes(),
        // Who has the bundle adds it.
        seccomp_agent: None,
        io_priority: schedule::io_priority(process.io_priority().as_ref())?,
        scheduler: process.scheduler().as_ref().map(schedule::scheduler).transpose()?,
        memory_policy: spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.memory_policy().as_ref())
            .map(schedule::memory_policy)
            .transpose()?,
    })
}

/// Those that the kernel raises: without being permitted and inheritable they are nothing, for runc too.
fn ambient(sets: Option<&LinuxCapabilities>) -> u64 {
    let bits = |set: Option<&Capabilities>| CapSet::from_spec(set).bits();
    sets.map_or(0, |sets| {
        let [ambient, permitted, inheritable] = [sets.ambient(), sets.permitted(), sets.inheritable()];
        bits(ambient.as_ref()) & bits(permitted.as_ref()) & bits(inheritable.as_ref())
    })
}

fn rlimit(limit: &PosixRlimit) -> (u32, u64, u64) {
    let number = match limit.typ() {
        PosixRlimitType::RlimitCpu => resource::CPU,
        PosixRlimitType::RlimitFsize => resource::FSIZE,
        PosixRlimitType::RlimitData => resource::DATA,
        PosixRlimitType::RlimitStack => resource::STACK,
        PosixRlimitType::RlimitCore => resource::CORE,
        PosixRlimitType::RlimitRss => resource::RSS,
        PosixRlimitType::RlimitNproc => resource::NPROC,
        PosixRlimitType::RlimitNofile => resource::NOFILE,
        PosixRlimitType::RlimitMemlock => resource::MEMLOCK,
        PosixRlimitType::RlimitAs => resource::AS,
        PosixRlimitType::RlimitLocks => resource::LOCKS,
        PosixRlimitType::RlimitSigpending => resource::SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => resource::MSGQUEUE,
        PosixRlimitType::RlimitNice => resource::NICE,
        PosixRlimitType::RlimitRtprio => resource::RTPRIO,
        PosixRlimitType::RlimitRttime => resource::RTTIME,
    };
    // glibc's numbers are unsigned, musl's are not.
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
    (number as u32, limit.soft(), limit.hard())
}
