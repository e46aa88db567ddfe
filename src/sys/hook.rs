//! Hooks of the runtime spec: programs that are run at certain points of a container's life, with its state on stdin.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::fd::namespace;
use crate::{SysResult, poll, process, resolve};

/// The file mode creation mask of programs of the host.
pub const UMASK: u32 = 0o022;
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So often is what a hook has started killed, which may start more meanwhile.
const KILLS: u32 = 100;
/// So much of what a hook complains of is told.
const SAID: usize = 4096;

/// The namespaces of [`Hook::beside`], with their names on procfs; that of mounts, by which procfs is seen, last.
const ENTERED: [(&str, i32); 5] = [
    ("net", namespace::NET),
    ("ipc", namespace::IPC),
    ("uts", namespace::UTS),
    ("cgroup", namespace::CGROUP),
    ("mnt", namespace::MOUNT),
];

/// A hook.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    /// The program, absolute.
    pub path: &'a Path,
    /// Its arguments, beginning with its own name; empty: the path alone.
    pub args: &'a [Vec<u8>],
    /// `NAME=value`; nothing else is inherited.
    pub env: &'a [Vec<u8>],
    /// Killed after so long; `None`: never.
    pub limit: Option<Duration>,
    /// A process whose network, IPC, UTS, cgroup and mount namespaces it is run in; `None`: the caller's. It stays in
    /// the caller's PID namespace, which nobody leaves upwards.
    pub beside: Option<i32>,
    /// Its file mode creation mask; `None`: the caller's.
    pub umask: Option<u32>,
}

/// Runs a hook to its end.
///
/// # Errors
/// Why it could not be run, or how it ended and what it said on stderr.
pub fn run(hook: &Hook<'_>, state: &[u8]) -> Result<(), String> {
    if !hook.path.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    let text = |bytes: &Vec<u8>| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let mut command = Command::new(hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(text(name)).args(rest.iter().map(text));
    }
    command.env_clear();
    for entry in hook.env {
        if let Some(at) = entry.iter().position(|byte| *byte == b'=') {
            let (name, value) = entry.split_at(at);
            command.env(
                std::ffi::OsStr::from_bytes(name),
                std::ffi::OsStr::from_bytes(value.get(1..).unwrap_or_default()),
            );
        }
    }
    let (stdin, stderr) = streams(state).map_err(|error| format!("no memory for its streams: {error}"))?;
    let said = stderr.try_clone().map_err(|error| format!("no descriptor for its streams: {error}"))?;
    command.stdin(stdin).stdout(Stdio::null()).stderr(stderr);
    let namespaces = hook.beside.map_or(Ok(Vec::new()), namespaces_of).map_err(|error| error.to_string())?;
    prepare_exec(&mut command, namespaces, hook.umask);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let status = wait(&mut child, hook.limit).map_err(str::to_owned)?;
    if status.success() {
        return Ok(());
    }
    let mut text = [0; SAID];
    // What cannot be read is not told.
    let length = said.read_at(&mut text, 0).unwrap_or_default();
    Err(format!("{status}: {}", String::from_utf8_lossy(text.get(..length).unwrap_or_default()).trim()))
}

/// The state to read, and room for complaints: files, as a pipe would end its writer when the hook does not read, fill
/// up when it says much, and stay open as long as something that it left behind.
fn streams(state: &[u8]) -> io::Result<(File, File)> {
    let memory = |name| memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from);
    let mut stdin = memory(c"hook state")?;
    stdin.write_all(state)?;
    stdin.rewind()?;
    Ok((stdin, memory(c"hook stderr")?))
}

/// By path: in a PID namespace of its own a process cannot name one outside.
fn namespaces_of(pid: i32) -> SysResult<Vec<(OwnedFd, i32)>> {
    let open = |(name, kind): (&str, i32)| {
        let path = format!("/proc/{pid}/ns/{name}");
        Ok((resolve::open(path.as_bytes(), libc::O_RDONLY)?, kind))
    };
    ENTERED.into_iter().map(open).collect()
}

/// Namespaces and the mask, where there are any, and what the library leaves as it is: signals that are ignored here, or in whoever
/// has started this program.
fn prepare_exec(command: &mut Command, namespaces: Vec<(OwnedFd, i32)>, umask: Option<u32>) {
    let enter = move || {
        umask.into_iter().for_each(process::set_umask);
        poll::reset_signals().map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        if namespaces.is_empty() {
            return Ok(());
        }
        let all_entered = namespaces.iter().all(|(fd, kind)| {
            // SAFETY: setns takes no pointers, and is a system call, allowed between fork and exec.
            unsafe { libc::setns(fd.as_raw_fd(), *kind) == 0 }
        });
        // SAFETY: as above; the path is terminated.
        let entered = all_entered && unsafe { libc::chdir(c"/".as_ptr()) == 0 };
        if entered { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe { command.pre_exec(enter) };
}

/// Waits for a hook, so long at most.
fn wait(child: &mut Child, limit: Option<Duration>) -> Result<ExitStatus, &'static str> {
    let Some(limit) = limit else { return child.wait().map_err(|_| "cannot be waited for") };
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Err(_) => return Err("cannot be waited for"),
            Ok(None) if Instant::now() < until => sleep(LOOK_AGAIN),
            Ok(None) => {
                kill_tree(child.id());
                // It may have ended in this moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err("it took longer than its timeout");
            }
        }
    }
}

/// What it has started goes with it, where that can be told.
fn kill_tree(hook: u32) {
    // Another PID namespace's procfs would give numbers of others.
    let is_ours =
        fs::read_link("/proc/self").is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()));
    let Some(hook) = i32::try_from(hook).ok().filter(|_| is_ours) else { return };
    for _ in 0..KILLS {
        if process::kill_tree(hook) {
            return;
        }
        sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell<'a>(args: &'a [Vec<u8>], env: &'a [Vec<u8>], limit: Option<Duration>) -> Hook<'a> {
        Hook { path: Path::new("/bin/sh"), args, env, limit, beside: None, umask: None }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment() {
        let out = std::env::temp_dir().join(format!("corten-hook-{}", std::process::id()));
        let script = format!("cat > {0}; echo $A$HOME >> {0}", out.display());
        let args = [b"sh".to_vec(), b"-c".to_vec(), script.into_bytes()];
        run(&shell(&args, &[b"A=b=c".to_vec()], None), b"{}\n").unwrap();
        let said = std::fs::read_to_string(&out).unwrap();
        std::fs::remove_file(out).unwrap();
        assert_eq!(said, "{}\nb=c\n");
    }

    #[test]
    fn a_hook_has_the_mask_that_it_is_given() {
        let args = [b"sh".to_vec(), b"-c".to_vec(), b"umask >&2; exit 3".to_vec()];
        for umask in [0o027, 0] {
            let hook = Hook { umask: Some(umask), ..shell(&args, &[], None) };
            let said = run(&hook, b"").unwrap_err();
            assert!(said.ends_with(&format!(": {umask:04o}")), "{said}");
        }
    }

    #[test]
    fn a_hook_ignores_no_signals() {
        // SAFETY: ignoring a signal that nothing here sends harms no other test.
        let before = unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let args = [b"sh".to_vec(), b"-c".to_vec(), b"kill -USR2 $$; exit 0".to_vec()];
        let error = run(&shell(&args, &[], None), b"").unwrap_err();
        // SAFETY: what was there before is put back.
        unsafe { libc::signal(libc::SIGUSR2, before) };
        assert!(error.contains(&format!("signal: {}", libc::SIGUSR2)), "{error}");
    }

    #[test]
    fn a_failing_hook_says_why() {
        let args = [b"sh".to_vec(), b"-c".to_vec(), b"echo no luck >&2; exit 3".to_vec()];
        let error = run(&shell(&args, &[], None), b"").unwrap_err();
        assert!(error.contains('3') && error.contains("no luck"), "{error}");
        let args = [b"sh".to_vec(), b"-c".to_vec(), b"exec sleep 600".to_vec()];
        let error = run(&shell(&args, &[], Some(Duration::from_millis(50))), b"").unwrap_err();
        assert!(error.contains("timeout"), "{error}");
        let left = std::env::temp_dir().join(format!("corten-hook-left-{}", std::process::id()));
        let script = format!("trap '' TERM; sleep 600 & echo $! > {}; wait; sleep 600", left.display());
        let args = [b"sh".to_vec(), b"-c".to_vec(), script.into_bytes()];
        run(&shell(&args, &[], Some(Duration::from_millis(300))), b"").unwrap_err();
        let pid: i32 = std::fs::read_to_string(&left).unwrap().trim().parse().unwrap();
        std::fs::remove_file(left).unwrap();
        // Its parent is whoever takes in orphans: it may be there until that one looks.
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(status.is_empty() || status.contains(") Z "), "{status}");
        // More than a pipe holds, and something left behind that keeps it open.
        let args =
            [b"sh".to_vec(), b"-c".to_vec(), b"sleep 40 & head -c 300000 /dev/zero >&2; exit 3".to_vec()];
        let error = run(&shell(&args, &[], Some(Duration::from_secs(30))), b"").unwrap_err();
        assert!(error.contains('3') && !error.contains("timeout"), "{error}");
        let missing = Hook { path: Path::new("/nowhere/hook"), ..shell(&[], &[], None) };
        assert!(run(&missing, b"").is_err());
        let relative = Hook { path: Path::new("sh"), ..shell(&[], &[], None) };
        assert!(run(&relative, b"").unwrap_err().contains("absolute"));
    }
}
