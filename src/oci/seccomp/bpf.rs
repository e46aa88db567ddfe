//! From a profile to the kernel's classic BPF: one section an architecture, in it a binary search over the call
//! number, and behind that actions and chains of argument tests.

use super::arch::Machine;
use super::filter::{Action, Compare, Condition, Filter};
use crate::error::{OciError, OciResult};
use std::collections::BTreeMap;

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_GREATER: u16 = 0x25;
pub(super) const IF_GREATER_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// So far a conditional jump leads.
const REACH: usize = u8::MAX as usize;
/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;
const ENOSYS: u16 = 38;

/// What becomes of a call number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    /// Tried in order.
    tests: Vec<(Vec<Condition>, Action)>,
    /// When none matches.
    otherwise: Action,
}

impl Decision {
    fn fixed(otherwise: Action) -> Self {
        Self { tests: Vec::new(), otherwise }
    }
}

/// Compiles for a machine.
pub(super) fn compile(filter: &Filter, machines: &[Machine]) -> OciResult<Vec<Instruction>> {
    let mut program = vec![load(ARCH)];
    for machine in machines {
        let ranges = decisions(filter, machine);
        if ranges.is_empty() {
            continue;
        }
        let mut section = vec![load(NUMBER)];
        section.extend(search(&ranges));
        program.push(Instruction { code: IF_EQUAL, jt: 1, jf: 0, k: machine.audit });
        program.push(jump(section.len()));
        program.extend(section);
    }
    program.push(answer(Action::KillProcess));
    if program.len() > MAX_INSTRUCTIONS {
        return Err(OciError::Profile {
            reason: format!("{} instructions, above {MAX_INSTRUCTIONS}", program.len()),
        });
    }
    Ok(program)
}

/// The program as the kernel reads it.
pub(super) fn bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    bytes
}

/// The whole space of numbers as ranges, each with its first number; neighbours differ. Empty when the profile
/// leaves this machine out.
fn decisions(filter: &Filter, machine: &Machine) -> Vec<(u32, Decision)> {
    let wanted = |arch: u32| filter.architectures.as_ref().is_none_or(|list| list.contains(&arch));
    let tables: Vec<_> = machine.tables.iter().filter(|(arch, _)| wanted(*arch as u32)).collect();
    if tables.is_empty() {
        return Vec::new();
    }
    let default = Decision::fixed(filter.default);
    // A program that probes for a call newer than this table must hear that it does not exist, not that it is
    // forbidden: C libraries fall back only then.
    let unknown = match filter.default {
        Action::Errno(_) => Decision::fixed(Action::Errno(ENOSYS)),
        _ => default.clone(),
    };
    let mut numbered: BTreeMap<u32, Decision> = BTreeMap::new();
    let mut starts: BTreeMap<u32, Decision> = BTreeMap::new();
    starts.insert(0, unknown.clone());
    for (arch, table) in &machine.tables {
        let here = wanted(*arch as u32);
        for (first, last) in &table.ranges {
            let inside = if here { default.clone() } else { Decision::fixed(Action::KillProcess) };
            starts.insert(*first, inside);
            starts
                .insert(last + 1, if here { unknown.clone() } else { Decision::fixed(Action::KillProcess) });
        }
        if here {
            number(filter, &table.numbers, &mut numbered);
        }
    }
    merge(&starts, numbered)
}

fn number(
    filter: &Filter,
    table: &std::collections::HashMap<&str, u32>,
    numbered: &mut BTreeMap<u32, Decision>,
) {
    let mut closed = std::collections::BTreeSet::new();
    for rule in &filter.rules {
        for number in rule.names.iter().filter_map(|name| table.get(name.as_str())) {
            if closed.contains(number) {
                continue;
            }
            let decision = numbered.entry(*number).or_insert_with(|| Decision::fixed(filter.default));
            if rule.conditions.is_empty() {
                decision.otherwise = rule.action;
                closed.insert(*number);
            } else {
                decision.tests.push((rule.conditions.clone(), rule.action));
            }
        }
    }
}

/// Lays single numbers over the background.
fn merge(starts: &BTreeMap<u32, Decision>, numbered: BTreeMap<u32, Decision>) -> Vec<(u32, Decision)> {
    let background = |number: u32| starts.range(..=number).next_back().map(|(_, decision)| decision.clone());
    let mut points = starts.clone();
    for number in numbered.keys() {
        if let Some(after) = number.checked_add(1).filter(|after| !numbered.contains_key(after)) {
            points.extend(background(after).map(|decision| (after, decision)));
        }
    }
    points.extend(numbered);
    let mut ranges: Vec<(u32, Decision)> = Vec::with_capacity(points.len());
    for (start, decision) in points {
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((start, decision));
        }
    }
    ranges
}

/// A balanced tree of comparisons with the accumulator, which holds the call number, and behind it what each decision takes,
/// once: the kernel takes its time for each instruction that it loads.
fn search(ranges: &[(u32, Decision)]) -> Vec<Instruction> {
    let mut known: Vec<(&Decision, usize)> = Vec::new();
    let mut leaves = Vec::new();
    let mut places = Vec::with_capacity(ranges.len());
    let compares = ranges.len().saturating_sub(1);
    for (_, decision) in ranges {
        let found = known.iter().find(|(one, _)| *one == decision).map(|(_, place)| *place);
        let place = found.unwrap_or(compares + leaves.len());
        if found.is_none() {
            known.push((decision, place));
            leaves.extend(decide(decision));
        }
        places.push(place);
    }
    if compares + leaves.len() <= REACH || ranges.len() < 2 {
        let mut code = Vec::with_capacity(compares + leaves.len());
        let starts: Vec<u32> = ranges.iter().map(|(start, _)| *start).collect();
        compare(&starts, &places, &mut code);
        code.extend(leaves);
        return code;
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let start = right.first().map_or(0, |(start, _)| *start);
    let (left, right) = (search(left), search(right));
    let mut code = match u8::try_from(left.len()) {
        Ok(skip) => vec![Instruction { code: IF_GREATER_EQUAL, jt: skip, jf: 0, k: start }],
        Err(_) => vec![Instruction { code: IF_GREATER_EQUAL, jt: 0, jf: 1, k: start }, jump(left.len())],
    };
    code.extend(left);
    code.extend(right);
    code
}

/// The comparisons between ranges that begin so, each of which leads to its place; where the first of them is.
fn compare(starts: &[u32], places: &[usize], code: &mut Vec<Instruction>) -> usize {
    if places.len() < 2 {
        return places.first().copied().unwrap_or_default();
    }
    let half = starts.len() / 2;
    let (at, k) = (code.len(), starts.get(half).copied().unwrap_or(u32::MAX));
    let ((lower, upper), (near, far)) = (starts.split_at(half), places.split_at(half));
    code.push(jump(0));
    let (below, above) = (compare(lower, near, code), compare(upper, far, code));
    // Whoever calls has seen to it that every offset fits.
    let offset = |to: usize| u8::try_from(to - at - 1).unwrap_or(u8::MAX);
    if let Some(slot) = code.get_mut(at) {
        *slot = Instruction { code: IF_GREATER_EQUAL, jt: offset(above), jf: offset(below), k };
    }
    at
}

fn decide(decision: &Decision) -> Vec<Instruction> {
    let tests = decision.tests.iter().flat_map(|(conditions, action)| test(conditions, *action));
    tests.chain([answer(decision.otherwise)]).collect()
}

/// Where a test goes on to, before offsets are known.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    Next,
    /// This condition holds.
    Holds,
    /// This rule does not match.
    Fails,
}

/// A rule: every condition, then its action; a condition that fails jumps behind the action.
fn test(conditions: &[Condition], action: Action) -> Vec<Instruction> {
    let parts: Vec<_> = conditions.iter().map(condition).collect();
    let total = parts.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(total);
    for part in parts {
        let end = code.len() + part.len();
        for (mut instruction, holds, fails) in part {
            let next = code.len() + 1;
            // Six conditions have at most 30 instructions: every offset fits.
            let offset = |to| match to {
                To::Next => 0,
                To::Holds => u8::try_from(end - next).unwrap_or(u8::MAX),
                To::Fails => u8::try_from(total - next).unwrap_or(u8::MAX),
            };
            if instruction.code != LOAD && instruction.code != AND {
                (instruction.jt, instruction.jf) = (offset(holds), offset(fails));
            }
            code.push(instruction);
        }
    }
    code.push(answer(action));
    code
}

/// One comparison of 64 bits, by halves; the high one decides unless it is equal.
fn condition(condition: &Condition) -> Vec<(Instruction, To, To)> {
    let (low_at, high_at) = halves(condition.argument);
    let (low, high) = split(condition.value);
    let plain = |instruction| (instruction, To::Next, To::Next);
    let on = |code, k, holds, fails| (Instruction { code, jt: 0, jf: 0, k }, holds, fails);
    match condition.compare {
        Compare::Equal => vec![
            plain(load(high_at)),
            on(IF_EQUAL, high, To::Next, To::Fails),
            plain(load(low_at)),
            on(IF_EQUAL, low, To::Holds, To::Fails),
        ],
        Compare::NotEqual => vec![
            plain(load(high_at)),
            on(IF_EQUAL, high, To::Next, To::Holds),
            plain(load(low_at)),
            on(IF_EQUAL, low, To::Fails, To::Holds),
        ],
        Compare::MaskedEqual { mask } => {
            let (mask_low, mask_high) = split(mask);
            let mut code = Vec::new();
            let halves = [(high_at, mask_high, high, To::Next), (low_at, mask_low, low, To::Holds)];
            for (at, mask, value, holds) in halves {
                // A half of which nothing is looked at is not loaded.
                if (mask, value) == (0, 0) {
                    continue;
                }
                code.push(plain(load(at)));
                if mask != u32::MAX {
                    code.push(plain(Instruction { code: AND, jt: 0, jf: 0, k: mask }));
                }
                code.push(on(IF_EQUAL, value, holds, To::Fails));
            }
            code
        }
        Compare::Greater | Compare::GreaterEqual | Compare::Less | Compare::LessEqual => {
            let (code, above, below) = match condition.compare {
                Compare::Greater => (IF_GREATER, To::Holds, To::Fails),
                Compare::GreaterEqual => (IF_GREATER_EQUAL, To::Holds, To::Fails),
                Compare::Less => (IF_GREATER_EQUAL, To::Fails, To::Holds),
                _ => (IF_GREATER, To::Fails, To::Holds),
            };
            vec![
                plain(load(high_at)),
                on(IF_GREATER, high, above, To::Next),
                on(IF_EQUAL, high, To::Next, below),
                plain(load(low_at)),
                on(code, low, above, below),
            ]
        }
    }
}

fn halves(argument: u8) -> (u32, u32) {
    let at = ARGUMENTS + 8 * u32::from(argument);
    if cfg!(target_endian = "little") { (at, at + 4) } else { (at + 4, at) }
}

#[allow(clippy::cast_possible_truncation, reason = "each half by itself")]
fn split(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

fn load(k: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k }
}

fn jump(over: usize) -> Instruction {
    Instruction { code: JUMP, jt: 0, jf: 0, k: u32::try_from(over).unwrap_or(u32::MAX) }
}

fn answer(action: Action) -> Instruction {
    let k = match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Notify => 0x7fc0_0000,
        Action::Trace(value) => 0x7ff0_0000 | u32::from(value),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    };
    Instruction { code: RETURN, jt: 0, jf: 0, k }
}
