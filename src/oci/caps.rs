//! Capability sets as bit masks, and the algebra of CRI's `add`, `drop` and `ALL`.

use crate::error::{OciError, OciResult};
use model::Capabilities;
use oci_spec::runtime::Capability;
use std::sync::OnceLock;

/// Every capability by number, without `CAP_`, as in the kernel's `linux/capability.h`.
const NAMES: [(&str, Capability); 41] = [
    ("CHOWN", Capability::Chown),
    ("DAC_OVERRIDE", Capability::DacOverride),
    ("DAC_READ_SEARCH", Capability::DacReadSearch),
    ("FOWNER", Capability::Fowner),
    ("FSETID", Capability::Fsetid),
    ("KILL", Capability::Kill),
    ("SETGID", Capability::Setgid),
    ("SETUID", Capability::Setuid),
    ("SETPCAP", Capability::Setpcap),
    ("LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("NET_BIND_SERVICE", Capability::NetBindService),
    ("NET_BROADCAST", Capability::NetBroadcast),
    ("NET_ADMIN", Capability::NetAdmin),
    ("NET_RAW", Capability::NetRaw),
    ("IPC_LOCK", Capability::IpcLock),
    ("IPC_OWNER", Capability::IpcOwner),
    ("SYS_MODULE", Capability::SysModule),
    ("SYS_RAWIO", Capability::SysRawio),
    ("SYS_CHROOT", Capability::SysChroot),
    ("SYS_PTRACE", Capability::SysPtrace),
    ("SYS_PACCT", Capability::SysPacct),
    ("SYS_ADMIN", Capability::SysAdmin),
    ("SYS_BOOT", Capability::SysBoot),
    ("SYS_NICE", Capability::SysNice),
    ("SYS_RESOURCE", Capability::SysResource),
    ("SYS_TIME", Capability::SysTime),
    ("SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("MKNOD", Capability::Mknod),
    ("LEASE", Capability::Lease),
    ("AUDIT_WRITE", Capability::AuditWrite),
    ("AUDIT_CONTROL", Capability::AuditControl),
    ("SETFCAP", Capability::Setfcap),
    ("MAC_OVERRIDE", Capability::MacOverride),
    ("MAC_ADMIN", Capability::MacAdmin),
    ("SYSLOG", Capability::Syslog),
    ("WAKE_ALARM", Capability::WakeAlarm),
    ("BLOCK_SUSPEND", Capability::BlockSuspend),
    ("AUDIT_READ", Capability::AuditRead),
    ("PERFMON", Capability::Perfmon),
    ("BPF", Capability::Bpf),
    ("CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// Whether a process may raise limits and lower scores that others may only lower and raise, from its
/// `/proc/PID/status`: it has `CAP_SYS_RESOURCE`.
pub fn overrides_resources(status: &str) -> bool {
    const SYS_RESOURCE: u32 = 24;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    effective & 1 << SYS_RESOURCE != 0
}

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// A set from the kernel's bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << NAMES.len()) - 1))
    }

    /// The kernel's bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other's.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What both sets have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it has every capability of the other.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of its members, without `CAP_`, in the kernel's order.
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().enumerate().filter(|(n, _)| self.0 & (1 << n) != 0).map(|(_, (name, _))| *name).collect()
    }

    /// Whether it has the capability of this name (without `CAP_`, upper case).
    pub(crate) fn has(self, name: &str) -> bool {
        number(name).is_some_and(|n| self.0 & (1 << n) != 0)
    }

    /// One capability by name, with or without `CAP_`, in any case.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming `field` when there is no such capability.
    pub fn parse_one(field: &str, name: &str) -> OciResult<Self> {
        number(name)
            .map(|n| Self(1 << n))
            .ok_or_else(|| OciError::invalid(field, format!("{name:?} is not a capability")))
    }

    /// A set from names.
    ///
    /// # Errors
    /// As [`CapSet::parse_one`].
    pub fn parse<'a>(field: &str, names: impl IntoIterator<Item = &'a str>) -> OciResult<Self> {
        names.into_iter().try_fold(Self::EMPTY, |set, name| Ok(set.union(Self::parse_one(field, name)?)))
    }

    /// The members in the spec crate's terms.
    pub fn to_spec(self) -> oci_spec::runtime::Capabilities {
        NAMES.iter().enumerate().filter(|(n, _)| self.0 & (1 << n) != 0).map(|(_, (_, cap))| *cap).collect()
    }

    /// From the spec crate's terms; `None` is the empty set.
    pub fn from_spec(set: Option<&oci_spec::runtime::Capabilities>) -> Self {
        let Some(set) = set else { return Self::EMPTY };
        let bit = |(n, (_, cap)): (usize, &(&str, Capability))| if set.contains(cap) { 1u64 << n } else { 0 };
        Self(NAMES.iter().enumerate().map(bit).sum())
    }
}

/// What lowering an OOM score takes, and raising a limit.
pub const SYS_RESOURCE: CapSet = CapSet(1 << 24);

/// The default of the setting: what a container gets whose request says nothing.
pub fn default_set() -> CapSet {
    const DEFAULT: [&str; 9] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "KILL",
    ];
    CapSet(DEFAULT.iter().filter_map(|name| number(name)).map(|n| 1u64 << n).sum())
}

/// What this process may hand on: its bounding set, which `ALL` means.
pub fn available() -> CapSet {
    static AVAILABLE: OnceLock<CapSet> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bits = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
        CapSet::from_bits(bits.unwrap_or(u64::MAX))
    })
}

/// The sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessCaps {
    /// Bounding, permitted and effective.
    pub granted: CapSet,
    /// Ambient and inheritable. Nothing else is ever inheritable: an inheritable capability would come back
    /// through any file that carries it.
    pub ambient: CapSet,
}

/// What a request makes of the default set: `ALL` in `add` starts from every available capability, `ALL` in
/// `drop` from none, then the single ones are added, then the single ones are dropped.
///
/// # Errors
/// [`OciError::Invalid`] for an unknown name, and for a capability that the daemon itself does not have.
pub fn resolve(
    request: &Capabilities,
    privileged: bool,
    default: CapSet,
    available: CapSet,
) -> OciResult<ProcessCaps> {
    const ADD: &str = "linux.security_context.capabilities.add_capabilities";
    const DROP: &str = "linux.security_context.capabilities.drop_capabilities";
    const AMBIENT: &str = "linux.security_context.capabilities.add_ambient_capabilities";
    let (add_all, add) = split_all(ADD, &request.add)?;
    let (drop_all, drop) = split_all(DROP, &request.drop)?;
    let (ambient_all, ambient) = split_all(AMBIENT, &request.add_ambient)?;
    if ambient_all {
        return Err(OciError::invalid(AMBIENT, "ALL is not a capability here"));
    }
    if privileged {
        return Ok(ProcessCaps { granted: available, ambient: ambient.intersection(available) });
    }
    for (field, set) in [(ADD, add), (AMBIENT, ambient)] {
        let lacking = set.without(available);
        if let Some((n, _)) = NAMES.iter().enumerate().find(|(n, _)| lacking.0 & (1 << n) != 0) {
            return Err(OciError::invalid(field, format!("the runtime itself has no CAP_{}", NAMES[n].0)));
        }
    }
    let base = match (add_all, drop_all) {
        (_, true) => CapSet::EMPTY,
        (true, false) => available,
        (false, false) => default.intersection(available),
    };
    let ambient = ambient.without(drop);
    let granted = base.union(add).without(drop).union(ambient);
    Ok(ProcessCaps { granted, ambient })
}

fn split_all(field: &str, names: &[String]) -> OciResult<(bool, CapSet)> {
    let is_all = |name: &str| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let single = names.iter().map(String::as_str).filter(|name| !is_all(name));
    Ok((names.iter().any(|name| is_all(name)), CapSet::parse(field, single)?))
}

fn number(name: &str) -> Option<usize> {
    let bare = match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    };
    NAMES.iter().position(|(known, _)| known.eq_ignore_ascii_case(bare))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn caps(add: &[&str], drop: &[&str], ambient: &[&str]) -> Capabilities {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Capabilities { add: own(add), drop: own(drop), add_ambient: own(ambient) }
    }

    fn set(names: &[&str]) -> CapSet {
        CapSet::parse("test", names.iter().copied()).unwrap()
    }

    #[test]
    fn the_algebra_of_add_drop_and_all() {
        let all = CapSet::from_bits(u64::MAX);
        let default = default_set();
        let table = [
            (caps(&[], &[], &[]), default),
            (caps(&["net_admin"], &[], &[]), default.union(set(&["NET_ADMIN"]))),
            (caps(&[], &["CAP_CHOWN"], &[]), default.without(set(&["CHOWN"]))),
            (caps(&["ALL"], &[], &[]), all),
            (caps(&["all"], &["SYS_ADMIN"], &[]), all.without(set(&["SYS_ADMIN"]))),
            (caps(&[], &["ALL"], &[]), CapSet::EMPTY),
            (caps(&["NET_RAW"], &["ALL"], &[]), set(&["NET_RAW"])),
            (caps(&["ALL"], &["ALL"], &[]), CapSet::EMPTY),
            (caps(&["CHOWN"], &["CHOWN"], &[]), default.without(set(&["CHOWN"]))),
        ];
        for (request, expected) in table {
            let got = resolve(&request, false, default, all).unwrap();
            assert_eq!(got, ProcessCaps { granted: expected, ambient: CapSet::EMPTY }, "{request:?}");
        }
        let got = resolve(&caps(&[], &["ALL"], &["NET_BIND_SERVICE"]), false, default, all).unwrap();
        assert_eq!(got.ambient, set(&["NET_BIND_SERVICE"]));
        assert_eq!(got.granted, got.ambient);
        let got = resolve(&caps(&[], &["KILL"], &["KILL"]), false, default, all).unwrap();
        assert_eq!(got.ambient, CapSet::EMPTY);
        assert!(!got.granted.has("KILL"));
    }

    #[test]
    fn a_privileged_process_gets_all_that_there_is() {
        let available = default_set().union(set(&["SYS_ADMIN"]));
        let got = resolve(&caps(&[], &["ALL"], &[]), true, default_set(), available).unwrap();
        assert_eq!(got.granted, available);
    }

    #[test]
    fn unknown_and_unavailable_names_are_refused() {
        let all = CapSet::from_bits(u64::MAX);
        for request in [caps(&["NOPE"], &[], &[]), caps(&[], &["CAP_"], &[]), caps(&[], &[], &["ALL"])] {
            let error = resolve(&request, false, default_set(), all).unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{error}");
        }
        let error =
            resolve(&caps(&["SYS_ADMIN"], &[], &[]), false, default_set(), default_set()).unwrap_err();
        assert!(error.to_string().contains("CAP_SYS_ADMIN"), "{error}");
    }

    #[test]
    fn the_default_is_nine_and_survives_the_spec() {
        assert_eq!(default_set().bits().count_ones(), 9);
        assert_eq!(CapSet::from_spec(Some(&default_set().to_spec())), default_set());
    }
}
