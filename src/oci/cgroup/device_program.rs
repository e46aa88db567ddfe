//! cgroup v2 has no device files: an eBPF program answers for each access.

use super::devices::DEFAULT;
use crate::error::{OciError, OciResult};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

/// `BPF_DEVCG_*`.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

type Instruction = [u8; 8];

/// Restricts a cgroup to the default devices and these rules (`c 10:200 rwm`).
pub(super) fn attach(cgroup: &Path, more: &[String]) -> OciResult<()> {
    /// Nearly every container has the same list: its program is loaded once and shared.
    static SHARED: OnceLock<OwnedFd> = OnceLock::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(cgroup, flags, Mode::empty()).map_err(OciError::io("open", cgroup))?;
    if !more.is_empty() {
        let program = sys::bpf::load_device_program(&program(more)?)?;
        return Ok(sys::bpf::attach_device_program(dir.as_fd(), program.as_fd())?);
    }
    let shared = match SHARED.get() {
        Some(shared) => shared,
        None => {
            let loaded = sys::bpf::load_device_program(&program(&[])?)?;
            SHARED.get_or_init(|| loaded)
        }
    };
    Ok(sys::bpf::attach_device_program(dir.as_fd(), shared.as_fd())?)
}

/// Registers: r1 the context and then scratch, r2 the type, r3 the access, r4 and r5 the numbers.
pub(super) fn program(more: &[String]) -> OciResult<Vec<Instruction>> {
    let mut code = vec![
        instruction(0x61, 0x12, 0, 0),
        instruction(0xbf, 0x23, 0, 0),
        instruction(0x57, 0x02, 0, 0xffff),
        instruction(0x77, 0x03, 0, 16),
        instruction(0x61, 0x14, 4, 0),
        instruction(0x61, 0x15, 8, 0),
    ];
    for rule in joined(DEFAULT.iter().copied().chain(more.iter().map(String::as_str)))? {
        code.extend(rule.code());
    }
    code.extend([instruction(0xb7, 0x00, 0, 0), instruction(0x95, 0, 0, 0)]);
    Ok(code)
}

/// The rights of rules of the same device add up, as cgroup v1 has it: one access may need several of them.
fn joined<'a>(rules: impl Iterator<Item = &'a str>) -> OciResult<Vec<Rule>> {
    let (mut joined, mut places) = (Vec::<Rule>::new(), HashMap::new());
    for text in rules {
        let rule = Rule::parse(text)?;
        let place = *places.entry((rule.kind, rule.major, rule.minor)).or_insert(joined.len());
        match joined.get_mut(place) {
            Some(before) => before.access |= rule.access,
            None => joined.push(rule),
        }
    }
    Ok(joined)
}

struct Rule {
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

impl Rule {
    fn parse(text: &str) -> OciResult<Self> {
        let refuse = || OciError::invalid("device rule", format!("{text:?} is not understood"));
        let mut fields = text.split([' ', ':']);
        let mut next = || fields.next().ok_or_else(refuse);
        let kind = match next()? {
            "a" => None,
            "b" => Some(BLOCK),
            "c" => Some(CHAR),
            _ => return Err(refuse()),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            number => number.parse().map(Some).map_err(|_| refuse()),
        };
        let (major, minor) = (number(next()?)?, number(next()?)?);
        let bit = |c: char| match c {
            'm' => Ok(MKNOD),
            'r' => Ok(READ),
            'w' => Ok(WRITE),
            _ => Err(refuse()),
        };
        let access = next()?.chars().try_fold(0, |all, c| Ok::<_, OciError>(all | bit(c)?))?;
        Ok(Self { kind, major, minor, access })
    }

    /// Jumps behind itself where the access does not match, else allows it.
    fn code(&self) -> Vec<Instruction> {
        let mut tests: Vec<(Instruction, bool)> = Vec::new();
        if let Some(kind) = self.kind {
            tests.push((instruction(0x55, 0x02, 0, kind), true));
        }
        if self.access != MKNOD | READ | WRITE {
            tests.push((instruction(0xbf, 0x31, 0, 0), false));
            tests.push((instruction(0x57, 0x01, 0, self.access), false));
            tests.push((instruction(0x5d, 0x31, 0, 0), true));
        }
        for (register, number) in [(0x04, self.major), (0x05, self.minor)] {
            tests.extend(number.map(|number| (instruction(0x55, register, 0, number), true)));
        }
        let total = tests.len() + 2;
        let mut code: Vec<Instruction> = Vec::with_capacity(total);
        for (at, (mut test, jumps)) in tests.into_iter().enumerate() {
            if jumps {
                let offset = i16::try_from(total - at - 1).unwrap_or(i16::MAX);
                test[2..4].copy_from_slice(&offset.to_ne_bytes());
            }
            code.push(test);
        }
        code.extend([instruction(0xb7, 0x00, 0, 1), instruction(0x95, 0, 0, 0)]);
        code
    }
}

/// `struct bpf_insn`; `registers` is source and destination, four bits each.
fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    let registers = if cfg!(target_endian = "little") { registers } else { registers.rotate_left(4) };
    let (o, i) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    [code, registers, o[0], o[1], i[0], i[1], i[2], i[3]]
}
