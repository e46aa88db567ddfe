#![allow(clippy::unwrap_used)]

use super::arch::{self, Machine};
use super::bpf::{self, Instruction};
use super::filter::{Action, Compare, Condition, Filter, Rule};
use super::*;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use oci_spec::runtime::{Arch, LinuxSeccompAction};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 38;
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// A system call as a filter sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

/// The kernel's interpreter, for the instructions that we use.
fn run(program: &[Instruction], call: Call) -> u32 {
    let mut data = Vec::new();
    data.extend_from_slice(&call.number.to_ne_bytes());
    data.extend_from_slice(&call.arch.to_ne_bytes());
    data.extend_from_slice(&0u64.to_ne_bytes());
    call.args.iter().for_each(|argument| data.extend_from_slice(&argument.to_ne_bytes()));
    let (mut at, mut a) = (0usize, 0u32);
    loop {
        let i = program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            bpf::LOAD => a = u32::from_ne_bytes(data[i.k as usize..][..4].try_into().unwrap()),
            bpf::AND => a &= i.k,
            bpf::JUMP => at += i.k as usize,
            bpf::IF_EQUAL => at += branch(a == i.k),
            bpf::IF_GREATER => at += branch(a > i.k),
            bpf::IF_GREATER_EQUAL => at += branch(a >= i.k),
            bpf::RETURN => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let value = args[usize::from(condition.argument)];
    match condition.compare {
        Compare::Equal => value == condition.value,
        Compare::NotEqual => value != condition.value,
        Compare::Less => value < condition.value,
        Compare::LessEqual => value <= condition.value,
        Compare::Greater => value > condition.value,
        Compare::GreaterEqual => value >= condition.value,
        Compare::MaskedEqual { mask } => value & mask == condition.value,
    }
}

/// The rules for one call, read naively; `Err` where no rule is asked.
fn rules_for<'a>(
    filter: &'a Filter,
    machines: &[Machine],
    arch: u32,
    number: u32,
) -> Result<Vec<&'a Rule>, Action> {
    let machine = machines.iter().find(|machine| machine.audit == arch).ok_or(Action::KillProcess)?;
    let in_range = |(first, last): &(u32, u32)| (*first..=*last).contains(&number);
    let tables = machine.tables.iter().map(|(_, table)| table);
    let unknown = if matches!(filter.default, Action::Errno(_)) { Action::Errno(38) } else { filter.default };
    let table = tables.clone().find(|table| table.ranges.iter().any(in_range)).ok_or(unknown)?;
    let named =
        |rule: &&Rule| rule.names.iter().any(|name| table.numbers.get(name.as_str()) == Some(&number));
    Ok(filter.rules.iter().filter(named).collect())
}

fn encoded(action: Action) -> u32 {
    match action {
        Action::KillProcess => KILL,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => ERRNO | u32::from(errno),
        Action::Trace(value) => 0x7ff0_0000 | u32::from(value),
        Action::Notify => 0x7fc0_0000,
        Action::Log => 0x7ffc_0000,
        Action::Allow => ALLOW,
    }
}

const INTERESTING: [u64; 14] =
    [0, 1, 2, 8, 38, 39, 40, 41, 0x2_0008, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0026, 0x1_0000_0028, u64::MAX];

fn agrees(filter: &Filter, machines: &[Machine]) {
    let program = bpf::compile(filter, machines).unwrap();
    let numbers =
        (0..600).chain(0x3fff_fff0..0x4000_0260).chain([0xe_ffff, 0xf_0000, 0xf_0001, 0xf_0005, 0xf_0006]);
    for number in numbers.chain([0xf_0007, u32::MAX - 1, u32::MAX]) {
        for arch in machines.iter().map(|machine| machine.audit).chain([0x1234]) {
            let rules = rules_for(filter, machines, arch, number);
            for value in INTERESTING {
                let args = [value, value ^ 1, value, 0, value, 7];
                let matches = |rule: &&&Rule| rule.conditions.iter().all(|condition| holds(condition, &args));
                let action = match &rules {
                    Ok(rules) => rules.iter().find(matches).map_or(filter.default, |rule| rule.action),
                    Err(action) => *action,
                };
                assert_eq!(run(&program, Call { arch, number, args }), encoded(action), "{number} {args:x?}");
            }
        }
    }
}

#[test]
fn the_program_says_what_the_rules_say() {
    for caps in [CapSet::EMPTY, default_set(), CapSet::from_bits(u64::MAX)] {
        for machines in [arch::amd64(), arch::arm64()] {
            agrees(&super::default::filter(caps), &machines);
        }
    }
}

#[test]
fn every_comparison_on_every_half() {
    let values = [0, 5, 0xffff_ffff, 0x1_0000_0000, 0x5_0000_0005, u64::MAX];
    for value in values {
        for compare in [
            Compare::Equal,
            Compare::NotEqual,
            Compare::Less,
            Compare::LessEqual,
            Compare::Greater,
            Compare::GreaterEqual,
            Compare::MaskedEqual { mask: 0xf_0000_000f },
            Compare::MaskedEqual { mask: 0x5 },
            Compare::MaskedEqual { mask: 0xffff_ffff },
            Compare::MaskedEqual { mask: 0xf_0000_0000 },
            Compare::MaskedEqual { mask: u64::MAX },
            Compare::MaskedEqual { mask: 0 },
        ] {
            let conditions = vec![Condition::new(0, compare, value), Condition::new(5, Compare::Equal, 1)];
            let rule = Rule::new("read", Action::Errno(77), conditions.clone());
            let filter = Filter { default: Action::Log, rules: vec![rule], architectures: None, flags: 0 };
            let program = bpf::compile(&filter, &arch::amd64()).unwrap();
            for argument in values.into_iter().flat_map(|v| [v, v.wrapping_add(1), v.wrapping_sub(1)]) {
                for last in [0, 1] {
                    let args = [argument, 0, 0, 0, 0, last];
                    let call = Call { arch: X86_64, number: 0, args };
                    let want =
                        if conditions.iter().all(|c| holds(c, &args)) { ERRNO | 77 } else { 0x7ffc_0000 };
                    assert_eq!(run(&program, call), want, "{compare:?} {value:x} {argument:x} {last}");
                }
            }
        }
    }
}

/// The result of a call by name under the built-in profile.
fn verdict(caps: CapSet, arch: u32, name: &str, first: u64) -> u32 {
    let machines = arch::amd64();
    let filter = super::default::filter(caps);
    let program = bpf::compile(&filter, &machines).unwrap();
    let machine = machines.iter().find(|machine| machine.audit == arch).unwrap();
    let number = machine.tables[0].1.numbers[name];
    run(&program, Call { arch, number, args: [first, 0, 0, 0, 0, 0] })
}

#[test]
fn the_built_in_profile_has_the_facts_of_the_incumbents() {
    let plain = default_set();
    let admin = plain.union(CapSet::parse("t", ["SYS_ADMIN"]).unwrap());
    for name in
        ["io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "userfaultfd", "mount"]
    {
        assert_eq!(verdict(plain, X86_64, name, 0), EPERM, "{name}");
    }
    assert_eq!(verdict(admin, X86_64, "io_uring_setup", 0), EPERM);
    assert_eq!(verdict(admin, X86_64, "mount", 0), ALLOW);
    assert_eq!(verdict(plain, X86_64, "clone3", 0), ENOSYS);
    assert_eq!(verdict(admin, X86_64, "clone3", 0), ALLOW);
    assert_eq!(verdict(plain, X86_64, "clone", 0x11), ALLOW);
    assert_eq!(verdict(plain, X86_64, "clone", 0x1000_0000), EPERM);
    assert_eq!(verdict(admin, X86_64, "clone", 0x1000_0000), ALLOW);
    for (family, want) in
        [(1, ALLOW), (2, ALLOW), (16, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (41, ALLOW)]
    {
        assert_eq!(verdict(plain, X86_64, "socket", family), want, "family {family}");
        assert_eq!(
            verdict(plain, X86_64, "socket", family | 1 << 32),
            want,
            "family {family} with a high bit"
        );
    }
    assert_eq!(verdict(plain, I386, "socket", 38), EPERM);
    assert_eq!(verdict(plain, I386, "socketcall", 1), EPERM);
    assert_eq!(verdict(plain, I386, "socketcall", 3), ALLOW);
    for (value, want) in
        [(0, ALLOW), (8, ALLOW), (0x20000, ALLOW), (0x20008, ALLOW), (0xffff_ffff, ALLOW), (0x40000, EPERM)]
    {
        assert_eq!(verdict(plain, X86_64, "personality", value), want, "personality {value:#x}");
    }
    for (cap, name) in
        [("SYS_CHROOT", "chroot"), ("SYS_TIME", "settimeofday"), ("SYS_PTRACE", "kcmp"), ("BPF", "bpf")]
    {
        assert_eq!(verdict(plain, X86_64, name, 0), EPERM, "{name}");
        assert_eq!(verdict(CapSet::parse("t", [cap]).unwrap(), X86_64, name, 0), ALLOW, "{name}");
    }
    for name in ["fchmodat2", "cachestat", "mseal", "openat2", "faccessat2", "statx", "rseq", "close_range"] {
        assert_eq!(verdict(plain, X86_64, name, 0), ALLOW, "{name}");
    }
}

#[test]
fn calls_that_nobody_knows_do_not_exist() {
    let machines = arch::amd64();
    let program = bpf::compile(&super::default::filter(default_set()), &machines).unwrap();
    let call = |arch, number| run(&program, Call { arch, number, args: [0; 6] });
    assert_eq!(call(X86_64, 900), ENOSYS);
    assert_eq!(call(X86_64, 0x4000_0000 + 900), ENOSYS);
    assert_eq!(call(I386, 900), ENOSYS);
    assert_eq!(call(0xc000_00b7, 0), KILL);
    let only = Filter {
        architectures: Some(vec![Arch::ScmpArchX86_64 as u32]),
        ..super::default::filter(default_set())
    };
    let program = bpf::compile(&only, &machines).unwrap();
    assert_eq!(run(&program, Call { arch: I386, number: 3, args: [0; 6] }), KILL);
    assert_eq!(run(&program, Call { arch: X86_64, number: 0x4000_0000, args: [0; 6] }), KILL);
    assert_eq!(run(&program, Call { arch: X86_64, number: 0, args: [0; 6] }), ALLOW);
}

#[test]
fn equal_profiles_are_compiled_once() {
    let caps = CapSet::parse("t", ["SYS_CHROOT", "SYS_TIME"]).unwrap();
    let (a, b) = (default_program(caps).unwrap(), default_program(caps).unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    assert!(!Arc::ptr_eq(&a, &default_program(CapSet::EMPTY).unwrap()));
    // Also by who has it from a plan.
    assert!(Arc::ptr_eq(&a, &shared(&a)));
    assert_eq!(*shared(&[1, 2, 3]), [1, 2, 3]);
    assert_eq!(a.len() % 8, 0);
}

#[test]
fn profiles_of_the_node_in_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.json");
    let load = |json: &str, caps| {
        std::fs::write(&path, json).unwrap();
        localhost(&path, caps)
    };
    let oci = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir","nonesuch"],"action":"SCMP_ACT_ERRNO","errnoRet":5}]}"#;
    let profile = load(oci, CapSet::EMPTY).unwrap();
    assert_eq!(profile.default_action(), LinuxSeccompAction::ScmpActAllow);
    program(&profile).unwrap();
    let docker = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                   {"architecture":"SCMP_ARCH_S390X","subArchitectures":["SCMP_ARCH_S390"]}],
        "syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":[],"comment":"","includes":{},"excludes":{}},
          {"names":["chroot"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_CHROOT"]}},
          {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
          {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"999.0"}},
          {"names":["sync"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390"]}},
          {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}],
           "excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
    let names = |profile: &LinuxSeccomp| -> Vec<String> {
        profile.syscalls().iter().flatten().flat_map(|syscall| syscall.names().clone()).collect()
    };
    assert_eq!(names(&load(docker, CapSet::EMPTY).unwrap()), ["read", "ptrace", "clone"]);
    let caps = CapSet::parse("t", ["SYS_CHROOT", "SYS_ADMIN"]).unwrap();
    assert_eq!(names(&load(docker, caps).unwrap()), ["read", "chroot", "ptrace"]);
    for broken in [
        "",
        "{}",
        r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":7}"#,
    ] {
        let error = load(broken, CapSet::EMPTY).unwrap_err();
        assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{error}");
    }
    assert!(localhost(Path::new("relative"), CapSet::EMPTY).is_err());
    assert!(localhost(&dir.path().join("absent"), CapSet::EMPTY).is_err());
    assert!(localhost(dir.path(), CapSet::EMPTY).is_err());
}

#[test]
fn the_architectures_of_a_profile_each_have_their_numbers() {
    let profile = |architectures: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":[{architectures}],
            "syscalls":[{{"names":["ptrace","mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":38}}]}}"#
        );
        Filter::from_spec(&json::parse(json.as_bytes(), CapSet::EMPTY).unwrap()).unwrap()
    };
    let verdicts = |filter: &Filter| {
        let program = bpf::compile(filter, &arch::amd64()).unwrap();
        // ptrace and mkdir of x86-64 and i386, ptrace of x32, then a read of each.
        let calls = [(X86_64, 101), (X86_64, 83), (I386, 26), (I386, 39), (X86_64, 0x4000_0209)];
        let reads = [(X86_64, 0), (I386, 3), (X86_64, 0x4000_0000)];
        let verdict = |(arch, number)| run(&program, Call { arch, number, args: [0; 6] });
        (calls.map(verdict), reads.map(verdict))
    };
    let all = r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32""#;
    assert_eq!(verdicts(&profile(all)), ([ENOSYS; 5], [ALLOW; 3]));
    assert_eq!(verdicts(&profile("")), ([ENOSYS; 5], [ALLOW; 3]), "a profile that names none means all");
    if cfg!(target_arch = "x86_64") {
        let two = ([ENOSYS, ENOSYS, ENOSYS, ENOSYS, KILL], [ALLOW, ALLOW, KILL]);
        assert_eq!(verdicts(&profile(r#""SCMP_ARCH_X86""#)), two, "the machine's own is always meant");
    }
}

#[test]
fn flags_and_the_agent_of_a_profile() {
    let parsed = |rest: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW",
            "syscalls":[{{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}}]{rest}}}"#
        );
        json::parse(json.as_bytes(), CapSet::EMPTY).unwrap()
    };
    let error = program(&parsed("")).unwrap_err();
    assert!(error.to_string().contains("listenerPath"), "{error}");
    let listener = r#","listenerPath":"/run/agent.sock","listenerMetadata":"a \"b\"""#;
    let all = r#","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#;
    let flags = |profile: &LinuxSeccomp| program(profile).unwrap().flags;
    let everything = LOG | SPEC_ALLOW | NEW_LISTENER | WAIT_KILLABLE_RECV;
    assert_eq!(flags(&parsed(listener)), SPEC_ALLOW | NEW_LISTENER);
    assert_eq!(flags(&parsed(&format!("{listener}{all}"))), everything);
    let silent = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{listener}{all}}}"#);
    let silent = json::parse(silent.as_bytes(), CapSet::EMPTY).unwrap();
    assert_eq!(flags(&silent), LOG | SPEC_ALLOW, "nobody is asked");

    let of = |profile| {
        let mut linux = oci_spec::runtime::Linux::default();
        linux.set_seccomp(Some(profile));
        let mut spec = oci_spec::runtime::Spec::default();
        spec.set_version("1.2.0".to_owned()).set_linux(Some(linux));
        spec.set_annotations(Some([("k".to_owned(), "v".to_owned())].into()));
        agent(&spec, "c\"1", Path::new("/b"))
    };
    assert_eq!(of(silent).unwrap(), None);
    let first = of(parsed(listener)).unwrap().unwrap();
    assert_eq!(first.socket, b"/run/agent.sock");
    let told = |pid: i32, of: i32, status: &str| {
        let state = serde_json::json!({"ociVersion": "1.2.0", "id": "c\"1", "status": status, "pid": of,
            "bundle": "/b", "annotations": {"k": "v"}});
        serde_json::json!({"ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": pid, "metadata": "a \"b\"",
            "state": state})
    };
    let read = |parts: &[&[u8]]| serde_json::from_slice::<serde_json::Value>(&parts.concat()).unwrap();
    let message = read(&[&first.before_pid, b"7", &first.between_pids, b"7", &first.after_pids]);
    assert_eq!(message, told(7, 7, "creating"));
    let command = agent_of_command(&first, 7);
    assert!(command.after_pids.is_empty());
    assert_eq!(read(&[&command.before_pid, b"9", &command.between_pids]), told(9, 7, "running"));
    for wrong in ["run/agent.sock".to_owned(), format!("/{}", "a".repeat(107))] {
        let wrong = format!(r#","listenerPath":"{wrong}""#);
        assert_eq!(of(parsed(&wrong)).unwrap_err().kind(), model::ErrorKind::InvalidArgument);
    }
}

/// A filter binds the thread that loads it: a thread of the test stands for the container.
#[test]
fn the_kernel_enforces_it() {
    let program = program(&default_profile(default_set()).unwrap()).unwrap();
    let outcome = std::thread::spawn(move || {
        sys::privilege::set_no_new_privileges().unwrap();
        sys::privilege::load_seccomp(&program.bpf, program.flags).unwrap();
        let open = |family| socket(family, SockType::SeqPacket, SockFlag::empty(), None).map(drop);
        let unix = open(AddressFamily::Unix);
        let denied = [open(AddressFamily::Alg), open(AddressFamily::Vsock)];
        let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS);
        let chrooted = nix::unistd::chroot("/");
        let file = std::fs::read("/proc/self/status").is_ok();
        (unix, denied, unshared, chrooted, file)
    })
    .join()
    .unwrap();
    let refused = Err(nix::Error::EPERM);
    assert_eq!(outcome, (Ok(()), [refused, refused], refused, refused, true));
}

/// The kernel checks, converts and compiles each instruction anew for each process that loads a filter.
#[test]
fn the_built_in_profile_is_short() {
    let length = default_program(default_set()).unwrap().len() / 8;
    assert!(length < 400, "{length} instructions");
}
