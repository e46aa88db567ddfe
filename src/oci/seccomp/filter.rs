//! A profile as rules, and its two spellings: the OCI spec's and the JSON that Docker and Kubernetes nodes keep.

use crate::error::{OciError, OciResult};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    KillProcess,
    KillThread,
    Trap,
    Errno(u16),
    Trace(u16),
    /// Whoever holds the filter's listener decides.
    Notify,
    Log,
    Allow,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    NotEqual,
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
    MaskedEqual { mask: u64 },
}

/// A test of one argument, in all its 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) compare: Compare,
    pub(super) value: u64,
}

impl Condition {
    pub(super) fn new(argument: u8, compare: Compare, value: u64) -> Self {
        Self { argument, compare, value }
    }
}

/// Calls, and what becomes of them when every condition holds. The first rule that matches a call decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    pub(super) conditions: Vec<Condition>,
}

impl Rule {
    pub(super) fn new(name: &str, action: Action, conditions: Vec<Condition>) -> Self {
        Self { names: vec![name.to_owned()], action, conditions }
    }
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
    /// In the spec's terms; `None`: every one that this machine runs.
    pub(super) architectures: Option<Vec<u32>>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(super) flags: u32,
}

impl Filter {
    /// From the spec.
    pub(super) fn from_spec(spec: &LinuxSeccomp) -> OciResult<Self> {
        let default = action(spec.default_action(), spec.default_errno_ret())?;
        let rules = spec.syscalls().iter().flatten().map(rule).collect::<OciResult<_>>()?;
        let architectures = spec
            .architectures()
            .as_ref()
            .filter(|list| !list.is_empty())
            // The machine's own is always meant, as with libseccomp: without it nothing could be started.
            .map(|list| list.iter().chain(super::arch::native().first()).map(|arch| *arch as u32).collect());
        let mut filter = Self { default, rules, architectures, flags: super::SPEC_ALLOW };
        if let Some(flags) = spec.flags() {
            filter.flags = flags.iter().fold(0, |all, one| all | flag(*one));
        }
        if !filter.notifies() {
            // What it says about notifications is void then, and the kernel would refuse it.
            filter.flags &= !super::WAIT_KILLABLE_RECV;
        } else if spec.listener_path().as_ref().is_none_or(|path| path.as_os_str().is_empty()) {
            return Err(OciError::Profile {
                reason: "SCMP_ACT_NOTIFY needs a listenerPath, the socket of an agent".into(),
            });
        } else {
            filter.flags |= super::NEW_LISTENER;
        }
        Ok(filter)
    }

    /// Whether somebody is asked about a call.
    fn notifies(&self) -> bool {
        self.default == Action::Notify || self.rules.iter().any(|rule| rule.action == Action::Notify)
    }

    /// To the spec, with the architectures that the profile names.
    pub(super) fn to_spec(&self, architectures: &[Arch]) -> OciResult<LinuxSeccomp> {
        let (default, errno) = spelled(self.default);
        let syscalls = self.rules.iter().map(spelled_rule).collect::<OciResult<Vec<_>>>()?;
        let mut spec = LinuxSeccompBuilder::default()
            .default_action(default)
            .architectures(architectures)
            .syscalls(syscalls)
            .build()?;
        spec.set_default_errno_ret(errno);
        Ok(spec)
    }
}

fn spelled(action: Action) -> (LinuxSeccompAction, Option<u32>) {
    match action {
        Action::KillProcess => (LinuxSeccompAction::ScmpActKillProcess, None),
        Action::KillThread => (LinuxSeccompAction::ScmpActKillThread, None),
        Action::Trap => (LinuxSeccompAction::ScmpActTrap, None),
        Action::Errno(errno) => (LinuxSeccompAction::ScmpActErrno, Some(errno.into())),
        Action::Trace(value) => (LinuxSeccompAction::ScmpActTrace, Some(value.into())),
        Action::Notify => (LinuxSeccompAction::ScmpActNotify, None),
        Action::Log => (LinuxSeccompAction::ScmpActLog, None),
        Action::Allow => (LinuxSeccompAction::ScmpActAllow, None),
    }
}

fn spelled_rule(rule: &Rule) -> OciResult<LinuxSyscall> {
    let (action, errno) = spelled(rule.action);
    let mut syscall = LinuxSyscallBuilder::default().names(rule.names.clone()).action(action).build()?;
    syscall.set_errno_ret(errno);
    if !rule.conditions.is_empty() {
        syscall.set_args(Some(rule.conditions.iter().map(spelled_condition).collect::<OciResult<_>>()?));
    }
    Ok(syscall)
}

fn spelled_condition(condition: &Condition) -> OciResult<LinuxSeccompArg> {
    let op = match condition.compare {
        Compare::NotEqual => LinuxSeccompOperator::ScmpCmpNe,
        Compare::Less => LinuxSeccompOperator::ScmpCmpLt,
        Compare::LessEqual => LinuxSeccompOperator::ScmpCmpLe,
        Compare::Equal => LinuxSeccompOperator::ScmpCmpEq,
        Compare::GreaterEqual => LinuxSeccompOperator::ScmpCmpGe,
        Compare::Greater => LinuxSeccompOperator::ScmpCmpGt,
        Compare::MaskedEqual { .. } => LinuxSeccompOperator::ScmpCmpMaskedEq,
    };
    let argument = LinuxSeccompArgBuilder::default().index(condition.argument).op(op);
    let argument = match condition.compare {
        Compare::MaskedEqual { mask } => argument.value(mask).value_two(condition.value),
        _ => argument.value(condition.value),
    };
    Ok(argument.build()?)
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> OciResult<Action> {
    let value = |default: u16| match value {
        None => Ok(default),
        Some(value) => u16::try_from(value)
            .map_err(|_| OciError::Profile { reason: format!("errnoRet {value} is out of range") }),
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Action::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(value(1)?),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(value(1)?),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActNotify => Action::Notify,
    })
}

fn rule(syscall: &LinuxSyscall) -> OciResult<Rule> {
    if syscall.names().is_empty() {
        return Err(OciError::Profile { reason: "a rule names no system call".into() });
    }
    let conditions = syscall.args().iter().flatten().map(condition).collect::<OciResult<_>>()?;
    Ok(Rule {
        names: syscall.names().clone(),
        action: action(syscall.action(), syscall.errno_ret())?,
        conditions,
    })
}

fn condition(arg: &LinuxSeccompArg) -> OciResult<Condition> {
    let argument = u8::try_from(arg.index())
        .ok()
        .filter(|index| *index < 6)
        .ok_or_else(|| OciError::Profile { reason: format!("argument {} does not exist", arg.index()) })?;
    let (compare, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (Compare::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Compare::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Compare::LessEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (Compare::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Compare::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Compare::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (Compare::MaskedEqual { mask: arg.value() }, arg.value_two().unwrap_or(0))
        }
    };
    Ok(Condition { argument, compare, value })
}

fn flag(flag: LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => super::LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => super::SPEC_ALLOW,
        // The filter is loaded by a process of one thread: there is nobody to synchronise.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => super::WAIT_KILLABLE_RECV,
    }
}
