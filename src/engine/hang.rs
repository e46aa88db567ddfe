//! What processes wait for that the kernel does not let go: threads in state D, where in the kernel they are, and on which
//! mount.

use std::fs;
use std::path::{Path, PathBuf};

/// Filesystems whose server may be gone.
const SERVED: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse", "virtiofs", "glusterfs"];
/// Threads that are told of one process.
const MOST: usize = 4;

/// The threads of a process that wait without being interruptible, each in a sentence.
pub(crate) fn of_process(pid: i32) -> Vec<String> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let tasks = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| of_thread(&process, &task.path())).take(MOST).collect()
}

fn of_thread(process: &Path, task: &Path) -> Option<String> {
    let read = |file: &str| fs::read_to_string(task.join(file)).unwrap_or_default().trim().to_owned();
    let stat = read("stat");
    // Behind the name, which may hold anything.
    let (head, rest) = stat.rsplit_once(") ")?;
    if !rest.starts_with("D ") {
        return None;
    }
    let (pid, name) = head.split_once(" (")?;
    let place = match read("wchan").as_str() {
        "" | "0" => "the kernel".to_owned(),
        place => place.to_owned(),
    };
    let on = file_of(process, &read("syscall"))
        .map(|file| format!(", on {}", with_mount(process, &file)))
        .or_else(|| {
            let served = served(process);
            (!served.is_empty()).then(|| format!("; it sees mounts of servers: {}", served.join(", ")))
        });
    Some(format!("process {pid} ({name}) is in state D, in {place}{}", on.unwrap_or_default()))
}

/// The file that a system call is about, where its first argument is a descriptor: reading the link asks no filesystem.
fn file_of(process: &Path, syscall: &str) -> Option<PathBuf> {
    let argument = syscall.split(' ').nth(1)?.strip_prefix("0x")?;
    let number = i32::try_from(u64::from_str_radix(argument, 16).ok()?).ok()?;
    let file = fs::read_link(process.join("fd").join(number.to_string())).ok()?;
    file.is_absolute().then_some(file)
}

/// A file with the mount that it is on, as the process sees it.
fn with_mount(process: &Path, file: &Path) -> String {
    let table = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    let mounts = table.lines().filter_map(mount);
    let around = mounts.filter(|(point, ..)| file.starts_with(point)).max_by_key(|(point, ..)| point.len());
    match around {
        Some((point, kind, source)) => {
            format!("{}, which is on {point} ({kind} of {source})", file.display())
        }
        None => file.display().to_string(),
    }
}

fn served(process: &Path) -> Vec<String> {
    let table = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    let mounts = table.lines().filter_map(mount);
    let of_servers =
        mounts.filter(|(_, kind, _)| SERVED.contains(&kind.split('.').next().unwrap_or_default()));
    of_servers.take(MOST).map(|(point, kind, source)| format!("{point} ({kind} of {source})")).collect()
}

/// Point, kind and source of a line of mountinfo.
fn mount(line: &str) -> Option<(&str, &str, &str)> {
    let (head, tail) = line.split_once(" - ")?;
    let mut filesystem = tail.split(' ');
    Some((head.split(' ').nth(4)?, filesystem.next()?, filesystem.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_a_server_is_named_with_its_source() {
        let line = "36 35 0:42 / /data rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2";
        assert_eq!(mount(line), Some(("/data", "nfs4", "server:/export")));
        // Nobody in this test hangs.
        assert!(of_process(std::process::id().cast_signed()).len() <= MOST);
    }
}
