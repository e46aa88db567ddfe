//! What the shim and its children write to the host's procfs: always through a descriptor that has been
//! verified to be on procfs.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use sys::fd::{as_path, errno, flag};
use sys::{SysError, SysResult, fd, resolve};

/// Writes one value; the file is below `/proc` and reached through no link but those of procfs itself.
fn write_proc(path: &[u8], value: &[u8], op: &'static str) -> SysResult<()> {
    let file = open_proc(path, op)?;
    write(file, value).map_err(|error| SysError::new(op, as_path(path), error.raw_os_error().unwrap_or(0)))
}

/// Opens a file below `/proc` for writing.
pub(super) fn open_proc(path: &[u8], op: &'static str) -> SysResult<OwnedFd> {
    open_as(path, flag::O_WRONLY, op)
}

fn open_as(path: &[u8], flags: i32, op: &'static str) -> SysResult<OwnedFd> {
    let dir = resolve::open(b"/proc", flag::O_PATH | flag::O_DIRECTORY)?;
    fd::expect_procfs(&dir)?;
    let file = resolve::open_in_root(dir.as_fd(), path, flags)
        .map_err(|error| SysError::new(op, as_path(path), error.errno))?;
    fd::expect_procfs(&file)?;
    Ok(file)
}

fn write(file: OwnedFd, value: &[u8]) -> std::io::Result<()> {
    File::from(file).write_all(value)
}

/// Sets the calling process's OOM score. The text is a warning: a host without `CAP_SYS_RESOURCE` does not
/// let it be lowered, and it stays.
///
/// # Errors
/// Any other failure.
pub fn set_oom_score(score: i32) -> SysResult<Option<String>> {
    match write_proc(b"self/oom_score_adj", score.to_string().as_bytes(), "set oom score") {
        Err(error) if matches!(error.errno, errno::EACCES | errno::EPERM) => {
            Ok(Some(format!("the host does not allow oom_score_adj {score}: it stays unchanged")))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(None),
    }
}

/// Writes sysctls of the namespaces that the calling process is in.
///
/// # Errors
/// The first failure, with the name's path; `EINVAL` for a name that is not one.
pub fn write_sysctls(sysctls: &[(Vec<u8>, Vec<u8>)]) -> SysResult<()> {
    const OP: &str = "set sysctl";
    let mut opened: Option<(Vec<u8>, OwnedFd)> = None;
    for (name, value) in sysctls {
        let path = sysctl_path(name).ok_or_else(|| SysError::new(OP, as_path(name), errno::EINVAL))?;
        let failed = |errno| SysError::new(OP, as_path(&path), errno);
        let (directory, last) = resolve::split(&path).unwrap_or((b"", &path));
        // Of the network's, the kernel finds the directory among those of all namespaces.
        let (known, opened_at) = match opened.take().filter(|(known, _)| known == directory) {
            Some(same) => same,
            None => {
                let flags = flag::O_PATH | flag::O_DIRECTORY;
                (directory.to_vec(), open_as(directory, flags, OP).map_err(|error| failed(error.errno))?)
            }
        };
        let file = resolve::open_beneath(opened_at.as_fd(), last, flag::O_WRONLY);
        let file = file.map_err(|error| failed(error.errno))?;
        opened = Some((known, opened_at));
        write(file, value).map_err(|error| failed(error.raw_os_error().unwrap_or(0)))?;
    }
    Ok(())
}

/// `net.ipv4.ip_forward` → `sys/net/ipv4/ip_forward`. As sysctl(8) does: where the first separator is a slash
/// the name is a path already, else a slash within it stands for a dot (of an interface's name).
fn sysctl_path(name: &[u8]) -> Option<Vec<u8>> {
    let is_path = name.iter().find(|byte| matches!(byte, b'.' | b'/')) == Some(&b'/');
    let turned: Vec<u8> = name
        .iter()
        .map(|byte| match byte {
            b'.' if !is_path => b'/',
            b'/' if !is_path => b'.',
            other => *other,
        })
        .collect();
    let valid =
        turned.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b".." && part != b".");
    valid.then(|| [b"sys/", turned.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn sysctl_names_become_paths_below_sys_only() {
        let path =
            |name: &str| sysctl_path(name.as_bytes()).map(|path| String::from_utf8_lossy(&path).into_owned());
        assert_eq!(path("net.ipv4.ip_forward").as_deref(), Some("sys/net/ipv4/ip_forward"));
        assert_eq!(
            path("net.ipv4.conf.eth0/1.arp_filter").as_deref(),
            Some("sys/net/ipv4/conf/eth0.1/arp_filter")
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.1/arp_filter").as_deref(),
            Some("sys/net/ipv4/conf/eth0.1/arp_filter")
        );
        assert_eq!(path("net/../../x"), None);
        assert_eq!(path(""), None);
        assert_eq!(path("a..b"), None);
    }
}
