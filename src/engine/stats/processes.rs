//! What a container's processes hold, from /proc. Read only when metrics are scraped.

use std::fs;

/// Processes at one moment; those that end meanwhile count as far as they were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processes {
    /// Processes.
    pub count: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Sockets among them.
    pub sockets: u64,
    /// Threads by what they do.
    pub threads: Threads,
    /// The first process's soft limit of open files, once it is looked up; `None` without a limit.
    pub files_limit: Option<u64>,
}

/// Threads by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Threads {
    /// Waiting for something.
    pub sleeping: u64,
    /// Running, or ready to.
    pub running: u64,
    /// Stopped by a signal or a debugger.
    pub stopped: u64,
    /// Waiting for a device, beyond the reach of signals.
    pub uninterruptible: u64,
}

impl Processes {
    /// Looks at these processes.
    pub(super) fn read(pids: &[i32]) -> Self {
        let mut found = Self { count: pids.len() as u64, ..Self::default() };
        for pid in pids {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            for descriptor in descriptors {
                found.descriptors += 1;
                let target = fs::read_link(descriptor.path());
                found.sockets +=
                    u64::from(target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")));
            }
            for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                found.threads.add(&fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
            }
        }
        found
    }

    /// The soft limit of open files of a process; others may change it while that sleeps.
    pub(super) fn files_limit(pid: i32) -> Option<u64> {
        match sys::process::files_limit(pid) {
            Ok(limit) => limit,
            // Without the right to ask (CAP_SYS_RESOURCE), everybody may read.
            Err(_) => files_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?),
        }
    }
}

impl Threads {
    /// The state follows the name, which is in parentheses and may hold anything.
    fn add(&mut self, stat: &str) {
        match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
            Some('R') => self.running += 1,
            Some('S' | 'I') => self.sleeping += 1,
            Some('T' | 't') => self.stopped += 1,
            Some('D') => self.uninterruptible += 1,
            _ => {}
        }
    }
}

fn files_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = std::process::id().cast_signed();
        let found = Processes::read(&[own]);
        assert_eq!(found.count, 1);
        assert!(
            found.descriptors >= 4 && found.sockets >= 1 && found.sockets < found.descriptors,
            "{found:?}"
        );
        assert!(found.threads.running >= 1, "{found:?}");
        let told = fs::read_to_string(format!("/proc/{own}/limits")).unwrap();
        assert_eq!(Processes::files_limit(own), files_limit(&told));
    }

    #[test]
    fn states_come_after_the_name() {
        let mut threads = Threads::default();
        for stat in ["1 (a) R 0", "2 (b) D) S 0", "3 (c) D 0", "4 (d) T 0", "5 (e) Z 0", ""] {
            threads.add(stat);
        }
        let expected = Threads { sleeping: 1, running: 1, stopped: 1, uninterruptible: 1 };
        assert_eq!(threads, expected);
        assert_eq!(
            files_limit(
                "Limit  Soft\nMax open files            1024                 4096                 files\n"
            ),
            Some(1024)
        );
        assert_eq!(
            files_limit("Max open files            unlimited            unlimited            files\n"),
            None
        );
    }
}
