//! What others see of this process's arguments.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::{SysError, SysResult};

/// Of `/proc/self/stat`, counted from what follows the name: where in memory the arguments begin (`arg_start`).
const ARGUMENTS: usize = 45;
const MEMORY: &str = "/proc/self/mem";

/// An argument of this process that can be replaced by another one of the same length, as `/proc/<pid>/cmdline` shows it.
/// The library keeps no copy: `std::env::args` tells the other one, too.
#[derive(Debug)]
pub struct OwnArgument {
    memory: File,
    begin: u64,
    length: usize,
}

impl OwnArgument {
    /// Finds the first argument that is this one.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` when there is none.
    pub fn find(argument: &[u8]) -> SysResult<Self> {
        let memory = OpenOptions::new().read(true).write(true).open(MEMORY);
        let memory = memory.map_err(SysError::io("open", MEMORY))?;
        let absent = || SysError::new("find an argument", MEMORY, libc::ENOENT);
        let line = read("/proc/self/cmdline")?;
        let before = line.split(|byte| *byte == 0).take_while(|word| *word != argument);
        let before: usize = before.map(|word| word.len() + 1).sum();
        let begin = arguments(&read("/proc/self/stat")?).ok_or_else(absent)? + before as u64;
        let mut found = vec![0; argument.len() + 1];
        memory.read_exact_at(&mut found, begin).map_err(SysError::io("read", MEMORY))?;
        if found.split_last() != Some((&0, argument)) {
            return Err(absent());
        }
        Ok(Self { memory, begin, length: argument.len() })
    }

    /// Puts another one in its place.
    ///
    /// # Errors
    /// `EINVAL` when it is longer or shorter, or another one of the kernel's.
    pub fn write(&self, argument: &[u8]) -> SysResult<()> {
        if argument.len() != self.length || argument.contains(&0) {
            return Err(SysError::new("replace an argument", MEMORY, libc::EINVAL));
        }
        self.memory.write_all_at(argument, self.begin).map_err(SysError::io("write", MEMORY))
    }
}

fn read(path: &str) -> SysResult<Vec<u8>> {
    std::fs::read(path).map_err(SysError::io("read", path))
}

/// The name before is in parentheses and may hold anything.
fn arguments(stat: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(stat).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split_ascii_whitespace().nth(ARGUMENTS)?.parse().ok().filter(|begin| *begin != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_replaced_by_one_of_its_length_only() {
        // The program's own name: every process has one, and nobody here asks for it afterwards.
        let line = std::fs::read("/proc/self/cmdline").unwrap();
        let name = line.split(|byte| *byte == 0).next().unwrap();
        let own = OwnArgument::find(name).unwrap();
        let other = vec![b'x'; name.len()];
        own.write(&other).unwrap();
        let now = std::fs::read("/proc/self/cmdline").unwrap();
        assert!(now.starts_with(&other) && now[other.len()..] == line[name.len()..]);
        own.write(name).unwrap();
        assert_eq!(std::fs::read("/proc/self/cmdline").unwrap(), line);
        for wrong in [&other[1..], b"", &[0; 1][..]] {
            assert_eq!(own.write(wrong).unwrap_err().errno, libc::EINVAL);
        }
        assert_eq!(OwnArgument::find(b"nothing of the kind").unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn where_they_begin_is_told_behind_a_name_that_may_hold_anything() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("12 (a) 1 2 (b) {}\n", fields.join(" "));
        assert_eq!(arguments(stat.as_bytes()), Some(48));
        assert_eq!(arguments(b"12 (short) S 1 2"), None);
        assert_eq!(
            arguments(stat.replace(" 48 ", " 0 ").as_bytes()),
            None,
            "hidden from whoever may not know"
        );
    }
}
