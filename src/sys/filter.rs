//! What a seccomp filter, an array of `struct sock_filter`, says to calls that nothing depends on: a process under a
//! filter that would end it for them leaves them out.

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_RET | BPF_K`, and the jumps: `BPF_JA`, `BPF_JEQ`, `BPF_JGT`, `BPF_JGE`, `BPF_JSET`.
const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const ALWAYS: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_EQUAL: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// By which the C libraries open, look at and read a file, and find and return the memory for it.
const LOOKING: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_pread64,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// Whether a process may look at files under a filter, empty for none, whatever the arguments of its calls are.
pub fn lets_look(filter: &[u8]) -> bool {
    filter.is_empty() || LOOKING.iter().all(|call| verdict(filter, *call) == Some(ALLOW))
}

/// What a filter says to a call of this machine's own kind; `None` where that depends on the call's arguments, or the
/// filter is unlike those that are written here.
fn verdict(filter: &[u8], call: libc::c_long) -> Option<u32> {
    let (instructions, _) = filter.as_chunks::<8>();
    let (mut at, mut loaded) = (0, 0);
    loop {
        let [c0, c1, when, otherwise, k0, k1, k2, k3] = *instructions.get(at)?;
        let value = u32::from_ne_bytes([k0, k1, k2, k3]);
        let jump = |taken: bool| usize::from(if taken { when } else { otherwise });
        at += 1;
        at += match u16::from_ne_bytes([c0, c1]) {
            RETURN => return Some(value),
            LOAD => {
                loaded = match value {
                    0 => u32::try_from(call).ok()?,
                    4 => ARCHITECTURE,
                    _ => return None,
                };
                0
            }
            AND => {
                loaded &= value;
                0
            }
            ALWAYS => usize::try_from(value).ok()?,
            EQUAL => jump(loaded == value),
            GREATER => jump(loaded > value),
            GREATER_EQUAL => jump(loaded >= value),
            ANY_BIT => jump(loaded & value != 0),
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn instruction(code: u16, when: u8, otherwise: u8, value: u32) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (code.to_ne_bytes(), value.to_ne_bytes());
        [c0, c1, when, otherwise, k0, k1, k2, k3]
    }

    /// Ends whoever makes the call, and lets everything else of this machine's kind through.
    fn without(call: libc::c_long) -> Vec<u8> {
        [
            instruction(LOAD, 0, 0, 4),
            instruction(EQUAL, 1, 0, ARCHITECTURE),
            instruction(RETURN, 0, 0, 0),
            instruction(LOAD, 0, 0, 0),
            instruction(EQUAL, 0, 1, u32::try_from(call).unwrap()),
            instruction(RETURN, 0, 0, 0x8000_0000),
            instruction(RETURN, 0, 0, ALLOW),
        ]
        .concat()
    }

    #[test]
    fn files_are_looked_at_where_every_call_for_it_is_let_through() {
        assert!(lets_look(&[]));
        assert!(lets_look(&without(libc::SYS_ptrace)));
        for call in LOOKING {
            assert!(!lets_look(&without(*call)), "{call}");
        }
    }

    #[test]
    fn a_filter_that_looks_at_arguments_or_is_cut_is_not_trusted() {
        let asks = [instruction(LOAD, 0, 0, 16), instruction(RETURN, 0, 0, ALLOW)].concat();
        let cut = instruction(LOAD, 0, 0, 0).to_vec();
        let far = [instruction(ALWAYS, 0, 0, 700), instruction(RETURN, 0, 0, ALLOW)].concat();
        for filter in [asks, cut, far] {
            assert!(!lets_look(&filter));
        }
    }
}
