//! A filter of system calls in the place of the container's own.

use super::ApplyError;
use crate::api::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use oci_spec::runtime as spec;
use std::path::PathBuf;
use std::str::FromStr;

pub(super) fn policy(linux: &mut spec::Linux, asked: Option<&LinuxSeccomp>) -> Result<(), ApplyError> {
    let Some(asked) = asked else { return Ok(()) };
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut made = spec::LinuxSeccomp::default();
    made.set_default_action(word("default_action", &asked.default_action)?)
        .set_default_errno_ret(asked.default_errno.map(|errno| errno.value))
        .set_architectures(words("architectures", &asked.architectures)?)
        .set_flags(words("flags", &asked.flags)?)
        .set_listener_path(text(&asked.listener_path).map(PathBuf::from))
        .set_listener_metadata(text(&asked.listener_metadata))
        .set_syscalls(some(asked.syscalls.iter().map(syscall).collect::<Result<_, _>>()?));
    // What cannot be compiled is told here, and not as a fault of the request.
    oci::seccomp::program(&made).map_err(ApplyError::oci("linux.seccomp_policy"))?;
    linux.set_seccomp(Some(made));
    Ok(())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn word<T: FromStr>(field: &str, word: &str) -> Result<T, ApplyError> {
    let refused =
        |_| ApplyError::refused(format!("linux.seccomp_policy.{field}"), format!("{word:?} is not known"));
    word.parse().map_err(refused)
}

fn words<T: FromStr>(field: &str, list: &[String]) -> Result<Option<Vec<T>>, ApplyError> {
    Ok(some(list.iter().map(|one| word(field, one)).collect::<Result<_, _>>()?))
}

fn syscall(asked: &LinuxSyscall) -> Result<spec::LinuxSyscall, ApplyError> {
    let mut made = spec::LinuxSyscall::default();
    made.set_names(asked.names.clone())
        .set_action(word("syscalls.action", &asked.action)?)
        .set_errno_ret(asked.errno_ret.map(|errno| errno.value))
        .set_args(some(asked.args.iter().map(argument).collect::<Result<_, _>>()?));
    Ok(made)
}

fn argument(asked: &LinuxSeccompArg) -> Result<spec::LinuxSeccompArg, ApplyError> {
    let op: spec::LinuxSeccompOperator = word("syscalls.args.op", &asked.op)?;
    let made = spec::LinuxSeccompArgBuilder::default()
        .index(usize::try_from(asked.index).unwrap_or(usize::MAX))
        .value(asked.value)
        .value_two(asked.value_two)
        .op(op);
    made.build().map_err(|error| ApplyError::oci("linux.seccomp_policy.syscalls.args")(error.into()))
}
