//! System call numbers, per architecture that a machine's kernel runs.

use oci_spec::runtime::Arch;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One table of numbers inside an audit architecture.
pub(super) struct Table {
    /// Number by name.
    pub(super) numbers: HashMap<&'static str, u32>,
    /// The ranges in which the kernel hands out numbers, as (first, last known). What lies above the last known
    /// number of a range did not exist when this was built.
    pub(super) ranges: Vec<(u32, u32)>,
}

/// What the kernel calls one architecture; x86-64 and x32 are one, told apart by a bit of the number.
pub(super) struct Machine {
    /// `AUDIT_ARCH_*`.
    pub(super) audit: u32,
    /// The architectures of the spec, each with its table.
    pub(super) tables: Vec<(Arch, Table)>,
}

const X32_BIT: u32 = 0x4000_0000;

/// The calls whose numbers x32 does not share with x86-64: their arguments have another layout.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];
const X32_OWN_FIRST: u32 = 512;

const ARM_PRIVATE: u32 = 0xf_0000;

/// The names that Docker's profiles use for this machine.
pub(super) const NAMES: &[&str] =
    if cfg!(target_arch = "aarch64") { &["arm64", "arm"] } else { &["amd64", "x86", "x32"] };

/// The architectures of this machine, in the spec's terms.
pub(super) fn native() -> &'static [Arch] {
    if cfg!(target_arch = "aarch64") {
        &[Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    }
}

/// The tables of this machine.
pub(super) fn machines() -> &'static [Machine] {
    static MACHINES: OnceLock<Vec<Machine>> = OnceLock::new();
    MACHINES.get_or_init(|| if cfg!(target_arch = "aarch64") { arm64() } else { amd64() })
}

pub(super) fn amd64() -> Vec<Machine> {
    let mut x86_64 = table(syscalls::x86_64::Sysno::iter().map(|call| (call.name(), call.id())));
    x86_64.numbers.insert("uretprobe", 335);
    let x32 = x32(&x86_64);
    let x86 = table(syscalls::x86::Sysno::iter().map(|call| (call.name(), call.id())));
    vec![
        Machine {
            audit: 0xc000_003e,
            tables: vec![(Arch::ScmpArchX86_64, x86_64), (Arch::ScmpArchX32, x32)],
        },
        Machine { audit: 0x4000_0003, tables: vec![(Arch::ScmpArchX86, x86)] },
    ]
}

pub(super) fn arm64() -> Vec<Machine> {
    let aarch64 = table(syscalls::aarch64::Sysno::iter().map(|call| (call.name(), call.id())));
    let mut arm = table(syscalls::arm::Sysno::iter().map(|call| (call.name(), call.id())));
    for (name, offset) in [("breakpoint", 1), ("cacheflush", 2), ("usr26", 3), ("usr32", 4), ("set_tls", 5)] {
        arm.numbers.insert(name, ARM_PRIVATE + offset);
    }
    arm.ranges.push((ARM_PRIVATE, ARM_PRIVATE + 6));
    vec![
        Machine { audit: 0xc000_00b7, tables: vec![(Arch::ScmpArchAarch64, aarch64)] },
        Machine { audit: 0x4000_0028, tables: vec![(Arch::ScmpArchArm, arm)] },
    ]
}

fn table(calls: impl Iterator<Item = (&'static str, i32)>) -> Table {
    let numbers: HashMap<_, _> = calls
        .filter_map(|(name, number)| Some((name, u32::try_from(number).ok()?)))
        .filter(|(_, number)| *number < ARM_PRIVATE)
        .collect();
    let last = numbers.values().copied().max().unwrap_or(0);
    Table { numbers, ranges: vec![(0, last)] }
}

fn x32(x86_64: &Table) -> Table {
    let mut numbers: HashMap<_, _> =
        x86_64.numbers.iter().map(|(name, number)| (*name, number | X32_BIT)).collect();
    for (name, own) in X32_OWN.iter().zip(X32_OWN_FIRST..) {
        numbers.insert(name, own | X32_BIT);
    }
    let last = numbers.values().copied().max().unwrap_or(X32_BIT);
    Table { numbers, ranges: vec![(X32_BIT, last)] }
}
