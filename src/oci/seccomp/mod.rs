//! System call filters: the built-in profile, profiles of the node, and their programs, each compiled once.
//!
//! The compiler is our own, over generated tables of call numbers: a filter is ready in well under a millisecond,
//! knows calls newer than the distribution's libraries, and nothing has to be linked.

mod agent;
mod arch;
mod bpf;
mod default;
mod filter;
mod json;
#[cfg(test)]
mod tests;

pub use agent::{agent, agent_of_command};

use crate::caps::{CapSet, default_set};
use crate::error::{OciError, OciResult};
use filter::Filter;
use oci_spec::runtime::LinuxSeccomp;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no speculation barriers, which cost more than they give (the kernel's own
/// default since 5.16).
const SPEC_ALLOW: u32 = 4;

/// `SECCOMP_FILTER_FLAG_LOG`.
const LOG: u32 = 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 8;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19).
const WAIT_KILLABLE_RECV: u32 = 32;

/// A node has a handful of profiles; a flood of different ones must not grow the daemon.
const CACHE_LIMIT: usize = 64;

/// The largest profile file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// An array of the kernel's `struct sock_filter`.
    pub bpf: Arc<[u8]>,
    /// `SECCOMP_FILTER_FLAG_*` for loading it.
    pub flags: u32,
}

/// Profiles and their programs, the last asked for first: comparing two costs less than making a key of one.
static PROGRAMS: Mutex<Vec<(LinuxSeccomp, Program)>> = Mutex::new(Vec::new());

/// The built-in profile's forms.
static DEFAULTS: Mutex<Vec<(CapSet, LinuxSeccomp)>> = Mutex::new(Vec::new());

/// The built-in profile for a process with this bounding set, in the spec's terms.
///
/// # Errors
/// Never in practice; the spec crate's builders are fallible.
pub fn default_profile(caps: CapSet) -> OciResult<LinuxSeccomp> {
    remembered(&DEFAULTS, &caps, || default::filter(caps).to_spec(arch::native()))
}

/// The built-in profile's program for a process with this bounding set.
///
/// # Errors
/// As [`program`].
pub fn default_program(caps: CapSet) -> OciResult<Arc<[u8]>> {
    Ok(program(&default_profile(caps)?)?.bpf)
}

/// The program of a profile, compiled when no equal profile was before.
///
/// # Errors
/// [`OciError::Profile`] for actions, arguments or sizes that are not supported.
pub fn program(profile: &LinuxSeccomp) -> OciResult<Program> {
    remembered(&PROGRAMS, profile, || {
        let filter = Filter::from_spec(profile)?;
        let bpf = bpf::bytes(&bpf::compile(&filter, arch::machines())?).into();
        Ok(Program { bpf, flags: filter.flags })
    })
}

/// A program as it is kept here, where it was asked for lately: those who hold it hold one.
pub fn shared(program: &[u8]) -> Arc<[u8]> {
    let known = sys::sync::lock(&PROGRAMS);
    let found = known.iter().find(|(_, one)| *one.bpf == *program);
    found.map_or_else(|| program.into(), |(_, one)| one.bpf.clone())
}

/// What belongs to a key, made when it was not asked for lately.
fn remembered<K: Clone + PartialEq, V: Clone>(
    known: &Mutex<Vec<(K, V)>>,
    key: &K,
    make: impl FnOnce() -> OciResult<V>,
) -> OciResult<V> {
    let known = || sys::sync::lock(known);
    let found = |list: &mut Vec<(K, V)>| {
        let place = list.iter().position(|(one, _)| one == key)?;
        list.get_mut(..=place)?.rotate_right(1);
        list.first().map(|(_, value)| value.clone())
    };
    if let Some(value) = found(&mut known()) {
        return Ok(value);
    }
    let value = make()?;
    let mut list = known();
    list.truncate(CACHE_LIMIT - 1);
    list.insert(0, (key.clone(), value.clone()));
    Ok(value)
}

/// Reads a profile of the node, in the OCI form or Docker's.
///
/// # Errors
/// [`OciError::Missing`] naming the request's field when it cannot be read, [`OciError::Invalid`] with the file when it
/// is not understood.
pub fn localhost(path: &Path, caps: CapSet) -> OciResult<LinuxSeccomp> {
    const FIELD: &str = "linux.security_context.seccomp.localhost_ref";
    let missing = |source| OciError::Missing { field: FIELD.into(), path: path.into(), source };
    let metadata = std::fs::metadata(path).map_err(missing)?;
    if !metadata.is_file() || metadata.len() > FILE_LIMIT {
        return Err(OciError::invalid(FIELD, "must be a regular file of at most 1 MiB"));
    }
    json::parse(&std::fs::read(path).map_err(missing)?, caps)
        .map_err(|error| OciError::invalid(FIELD, format!("{}: {error}", path.display())))
}

/// Compiles the built-in profile for the default capabilities, so that the first pod does not wait for it.
///
/// # Errors
/// As [`program`].
pub fn warm_up() -> OciResult<()> {
    default_program(default_set()).map(drop)
}

/// A profile's program as code, jumps and operand of each instruction; `None` when the profile is refused.
#[cfg(any(test, fuzzing))]
pub(crate) fn compile(json: &[u8], caps: CapSet) -> Option<Vec<[u32; 4]>> {
    let filter = Filter::from_spec(&json::parse(json, caps).ok()?).ok()?;
    let program = bpf::compile(&filter, arch::machines()).ok()?;
    Some(program.into_iter().map(|one| [one.code.into(), one.jt.into(), one.jf.into(), one.k]).collect())
}
