//! Profile files: the OCI form, and Docker's with its conditions on capabilities, architectures and kernels.

use crate::caps::CapSet;
use crate::error::{OciError, OciResult};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    syscalls: Vec<Rule>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: When,
    #[serde(default)]
    excludes: When,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct When {
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    caps: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads a profile for a process with this bounding set.
pub(super) fn parse(json: &[u8], caps: CapSet) -> OciResult<LinuxSeccomp> {
    let file: File = serde_json::from_slice(json)?;
    let mut architectures = file.architectures;
    for map in file.arch_map.into_iter().filter(|map| super::arch::native().contains(&map.architecture)) {
        architectures.push(map.architecture);
        architectures.extend(map.sub_architectures.into_iter().flatten());
    }
    let mut syscalls = Vec::new();
    for rule in file.syscalls {
        if !applies(&rule.includes, &rule.excludes, caps)? {
            continue;
        }
        let mut syscall = LinuxSyscall::default();
        let mut names = rule.names;
        names.extend(rule.name);
        syscall.set_names(names).set_action(rule.action).set_errno_ret(rule.errno_ret);
        syscall.set_args(rule.args.filter(|args| !args.is_empty()));
        syscalls.push(syscall);
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(file.default_action)
        .set_default_errno_ret(file.default_errno_ret)
        .set_architectures((!architectures.is_empty()).then_some(architectures))
        .set_flags(file.flags)
        .set_listener_path(file.listener_path.filter(|path| !path.as_os_str().is_empty()))
        .set_listener_metadata(file.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(profile)
}

/// A rule with several capabilities in `includes` needs them all; one of those in `excludes` is enough.
fn applies(includes: &When, excludes: &When, caps: CapSet) -> OciResult<bool> {
    let has = |name: &String| Ok::<_, OciError>(caps.contains(CapSet::parse_one("seccomp profile", name)?));
    let here = |names: &[String]| names.iter().any(|name| super::arch::NAMES.contains(&name.as_str()));
    for name in &includes.caps {
        if !has(name)? {
            return Ok(false);
        }
    }
    for name in &excludes.caps {
        if has(name)? {
            return Ok(false);
        }
    }
    if (!includes.arches.is_empty() && !here(&includes.arches)) || here(&excludes.arches) {
        return Ok(false);
    }
    let new_enough = |version: &Option<String>| version.as_deref().map(kernel_is_at_least).transpose();
    Ok(new_enough(&includes.min_kernel)?.unwrap_or(true)
        && !new_enough(&excludes.min_kernel)?.unwrap_or(false))
}

fn kernel_is_at_least(version: &str) -> OciResult<bool> {
    let wanted = two_numbers(version)
        .ok_or_else(|| OciError::Profile { reason: format!("minKernel {version:?} is not a version") })?;
    let release = rustix::system::uname();
    Ok(release.release().to_str().ok().and_then(two_numbers).is_none_or(|running| running >= wanted))
}

fn two_numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
