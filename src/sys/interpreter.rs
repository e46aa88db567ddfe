//! Why the kernel does not find a program that is there: the interpreter that it names is missing, be it the dynamic
//! linker of an ELF program or what runs a script.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::fd::flag;

/// As many as the kernel follows.
const LEVELS: usize = 5;
/// What the kernel reads of a script.
const LINE: usize = 256;
/// More than the headers of any linker take, which stand at the beginning.
const HEADERS: usize = 64 << 10;
const LONGEST_PATH: usize = 4096;
/// `PT_INTERP`.
const INTERPRETER: u32 = 3;

/// The interpreter of a program that is not there, as the program names it, or as another interpreter does.
pub fn missing(program: &Path) -> Option<PathBuf> {
    let mut path = program.to_owned();
    for _ in 0..LEVELS {
        let named = named_by(&path)?;
        match std::fs::metadata(&named) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Some(named);
            }
            _ => path = named,
        }
    }
    None
}

fn owned(path: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(path)).to_owned()
}

/// The interpreter that a program names.
fn named_by(program: &Path) -> Option<PathBuf> {
    let file = OpenOptions::new().read(true).custom_flags(flag::O_NONBLOCK).open(program).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = vec![0; HEADERS];
    let length = file.read_at(&mut head, 0).ok()?;
    head.truncate(length);
    match head.strip_prefix(b"#!") {
        Some(rest) => of_script(rest.get(..LINE - 2).unwrap_or(rest)),
        None => of_elf(&file, &head),
    }
}

fn of_script(rest: &[u8]) -> Option<PathBuf> {
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    line.split(blank).find(|word| !word.is_empty()).map(owned)
}

fn of_elf(file: &File, head: &[u8]) -> Option<PathBuf> {
    let number = |at: usize, width: usize| {
        let mut bytes = [0; 8];
        bytes.get_mut(..width)?.copy_from_slice(head.get(at..at.checked_add(width)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    let index = |at: usize, width: usize| number(at, width).and_then(|value| usize::try_from(value).ok());
    let is_wide = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        _ => return None,
    };
    // Where the table is, how long its rows are and how many, then of a row: offset and length in the file.
    let (table, row, rows) = if is_wide {
        (index(32, 8)?, index(54, 2)?, index(56, 2)?)
    } else {
        (index(28, 4)?, index(42, 2)?, index(44, 2)?)
    };
    let starts = (0..rows).map_while(|number| table.checked_add(number.checked_mul(row)?));
    let own = starts.into_iter().find(|at| number(*at, 4) == Some(INTERPRETER.into()))?;
    let (offset, length) = if is_wide {
        (number(own.checked_add(8)?, 8)?, index(own.checked_add(32)?, 8)?)
    } else {
        (number(own.checked_add(4)?, 4)?, index(own.checked_add(16)?, 4)?)
    };
    let mut name = vec![0; length.min(LONGEST_PATH)];
    let length = file.read_at(&mut name, offset).ok()?;
    name.truncate(length);
    name.split(|byte| *byte == 0).next().filter(|name| !name.is_empty()).map(owned)
}
