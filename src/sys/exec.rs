//! Replacing the process by a program.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::fd::{as_path, c_string, check};
use crate::{SysError, SysResult};

const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and environment, ready so that nothing but the call itself can fail late.
#[derive(Debug)]
pub struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    search: Vec<u8>,
}

impl Program {
    /// Prepares; `argv` must not be empty.
    ///
    /// # Errors
    /// `EINVAL` for no arguments or a NUL in one.
    pub fn new(argv: &[Vec<u8>], env: &[Vec<u8>]) -> SysResult<Self> {
        if argv.first().is_none_or(Vec::is_empty) {
            return Err(SysError::new("exec", "", libc::EINVAL));
        }
        let strings =
            |list: &[Vec<u8>]| list.iter().map(|text| c_string("exec", text)).collect::<SysResult<_>>();
        let search =
            env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH).to_vec();
        Ok(Self { argv: strings(argv)?, env: strings(env)?, search })
    }

    /// Runs it: a name with a slash as it is, any other looked up in the environment's PATH (a usual one when
    /// it has none), as execvp(3) does, relative to the current root and working directory. Returns only on
    /// failure: with `EACCES` when a file was found that may not be executed, else the last lookup's error.
    pub fn run(&self) -> SysError {
        let Some(name) = self.argv.first() else {
            return SysError::new("exec", "", libc::EINVAL);
        };
        let bytes = name.as_bytes();
        if bytes.contains(&b'/') {
            return self.execve(name);
        }
        let mut outcome = SysError::new("exec", as_path(bytes), libc::ENOENT);
        for path in self.places() {
            let Ok(path) = CString::new(path) else { continue };
            let error = self.execve(&path);
            match error.errno {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => outcome = error,
                _ => return error,
            }
        }
        outcome
    }

    /// Where it is looked for, in order.
    pub fn places(&self) -> impl Iterator<Item = Vec<u8>> {
        let name = self.argv.first().map_or(b"".as_slice(), |name| name.as_bytes());
        let (as_it_is, search) =
            if name.contains(&b'/') { (Some(name.to_vec()), None) } else { (None, Some(&self.search)) };
        let searched = search.into_iter().flat_map(|search| search.split(|byte| *byte == b':'));
        let searched = searched.map(move |dir| {
            let dir = if dir.is_empty() { b"." } else { dir };
            [dir, b"/", name].concat()
        });
        as_it_is.into_iter().chain(searched)
    }

    /// The missing interpreter of a program that is there and could not be executed.
    pub fn missing_interpreter(&self) -> Option<std::path::PathBuf> {
        let mut places = self.places().map(|place| as_path(&place).to_owned());
        let is_there =
            |place: &std::path::PathBuf| std::fs::metadata(place).is_ok_and(|found| found.is_file());
        crate::interpreter::missing(&places.find(is_there)?)
    }

    /// Runs the program that a descriptor is open on, whatever path it has. Returns only on failure.
    pub fn run_fd(&self, program: BorrowedFd<'_>) -> SysError {
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        // SAFETY: both arrays end with null and point at live, terminated strings.
        unsafe {
            libc::syscall(libc::SYS_execveat, program.as_raw_fd(), path, argv.as_ptr(), env.as_ptr(), flags);
        }
        SysError::last("exec", self.argv.first().map_or(as_path(b""), |name| as_path(name.as_bytes())))
    }

    fn execve(&self, path: &CString) -> SysError {
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        // SAFETY: the path is terminated; both arrays end with null and point at live, terminated strings.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        SysError::last("exec", as_path(path.as_bytes()))
    }
}

/// Makes sure that the running program's file cannot be written through `/proc/<pid>/exe` (CVE-2019-5736): unless it
/// lies on a read-only mount already, the process executes itself anew from one, with its arguments and environment.
/// To be called first thing: nothing but descriptors without close-on-exec survives. Where mounts cannot be cloned
/// (before Linux 5.12, or without the privilege) nothing happens.
///
/// # Errors
/// The kernel's, when the new execution fails.
pub fn from_read_only_copy() -> SysResult<()> {
    use std::os::unix::ffi::OsStringExt;
    let own: &[u8] = b"/proc/self/exe";
    let program = crate::resolve::open(own, libc::O_PATH)?;
    let flags =
        nix::sys::statvfs::fstatvfs(&program).map_err(SysError::nix("statvfs", as_path(own)))?.flags();
    if flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let copy = match crate::shim_spawn::read_only_copy(own) {
        Err(error) if matches!(error.errno, libc::ENOSYS | libc::EPERM | libc::EINVAL) => return Ok(()),
        other => other?,
    };
    let argv: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    let joined = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        [name.into_vec(), b"=".to_vec(), value.into_vec()].concat()
    };
    let env: Vec<Vec<u8>> = std::env::vars_os().map(joined).collect();
    Err(Program::new(&argv, &env)?.run_fd(copy.as_fd()))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Changes the working directory to an absolute path of the current root.
///
/// # Errors
/// The kernel's; `ENOENT` when the directory reached lies outside of the root, which a leaked descriptor
/// (`/proc/self/fd/7`) could bring about.
pub fn enter_directory(path: &[u8]) -> SysResult<()> {
    let name = c_string("chdir", path)?;
    // SAFETY: the name is terminated.
    check("chdir", path, unsafe { libc::chdir(name.as_ptr()) }.into())?;
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is writable for the length given. The raw call: libraries hide the kernel's
    // `(unreachable)` prefix, which is what is looked for.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    check("getcwd", path, length)?;
    if buffer.first() == Some(&b'/') {
        Ok(())
    } else {
        Err(SysError::new("chdir", as_path(path), libc::ENOENT))
    }
}

/// Whether a regular file is something that the kernel executes, by how it begins: a script that names its interpreter, or
/// a program for this machine. Where formats are registered with it (`binfmt_misc`) anything may be. The C library hands
/// what is none to a shell. One that cannot be read is taken for one.
pub fn is_program(path: &std::path::Path) -> bool {
    let Ok(mut file) = crate::regular::open_regular(path) else { return true };
    let mut head = [0; 20];
    let count = std::io::Read::read(&mut file, &mut head).unwrap_or_default();
    let Some(head) = head.get(..count) else { return true };
    head.starts_with(b"#!") || is_native(head) || registers_formats()
}

fn is_native(head: &[u8]) -> bool {
    // `e_machine`: x86-64 and the 32 bits of it, AArch64 and its.
    let machines: &[u16] = if cfg!(target_arch = "x86_64") { &[62, 3] } else { &[183, 40] };
    let machine = match head {
        [0x7f, b'E', b'L', b'F', .., low, high] if head.len() == 20 => u16::from_ne_bytes([*low, *high]),
        _ => return false,
    };
    machines.contains(&machine)
}

fn registers_formats() -> bool {
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name != "register" && name != "status")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_missing_program_is_reported_and_not_run() {
        let program = |name: &str| {
            Program::new(&[name.as_bytes().to_vec()], &[b"PATH=/nowhere:/bin".to_vec()]).unwrap()
        };
        assert_eq!(program("corten-no-such-program").run().errno, libc::ENOENT);
        assert_eq!(program("/nowhere/x").run().errno, libc::ENOENT);
        assert_eq!(program("/etc/passwd").run().errno, libc::EACCES);
        assert_eq!(Program::new(&[], &[]).unwrap_err().errno, libc::EINVAL);
    }

    #[test]
    fn a_program_is_what_the_kernel_executes() {
        let path = std::env::temp_dir().join(format!("corten-sys-program-{}", std::process::id()));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut foreign = own[..64].to_vec();
        foreign[18] = 0xf7;
        let mut cases = vec![(b"#!/bin/sh\n".to_vec(), true), (own[..64].to_vec(), true)];
        if !super::registers_formats() {
            cases.extend([
                (foreign, false),
                (b"echo\n".to_vec(), false),
                (Vec::new(), false),
                (own[..10].to_vec(), false),
            ]);
        }
        for (bytes, is) in cases {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(super::is_program(&path), is, "{:?}", &bytes[..bytes.len().min(20)]);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(super::is_program(&path), "whoever executes it says why not");
    }
}
