//! A process and everything that it has started.

use std::fs;

use super::kill;

/// Sends SIGKILL to everything that a process has started, as far as it is its descendant or in a session that one
/// leads, and to the process itself once it is alone. `true` when nothing was there. Forks outrun it: to be repeated.
pub fn kill_tree(root: i32) -> bool {
    let all = processes();
    let mut tree = vec![root];
    let mut sessions: Vec<i32> = Vec::new();
    loop {
        let known = tree.len();
        for one in &all {
            if tree.contains(&one.pid) {
                if !sessions.contains(&one.session) && tree.contains(&one.session) {
                    sessions.push(one.session);
                }
            } else if tree.contains(&one.parent) || sessions.contains(&one.session) {
                tree.push(one.pid);
            }
        }
        if tree.len() == known {
            break;
        }
    }
    let alive = |pid: &i32| all.iter().any(|one| one.pid == *pid && one.alive);
    let below: Vec<i32> = tree.iter().copied().filter(|pid| *pid != root).filter(alive).collect();
    let targets = if below.is_empty() && alive(&root) { vec![root] } else { below };
    for pid in &targets {
        // It may have ended meanwhile.
        let _ = kill(*pid, libc::SIGKILL);
    }
    targets.is_empty()
}

struct Listed {
    pid: i32,
    parent: i32,
    session: i32,
    alive: bool,
}

/// Every process that procfs shows.
fn processes() -> Vec<Listed> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
        let alive = !matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Listed { pid, parent, session, alive })
    })
    .collect()
}
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tree_is_killed_whole() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "setsid sh -c 'sleep 600 & wait' & sleep 600 & wait"])
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while processes().iter().filter(|one| one.parent == pid).count() < 2 {
            assert!(std::time::Instant::now() < until, "the children do not start");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        while !kill_tree(pid) {
            assert!(std::time::Instant::now() < until, "something is left");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.wait().unwrap();
        assert!(kill_tree(pid));
    }
}
