//! What the daemon is doing, for the log of whoever sends it SIGUSR1: operations in flight, and its threads.

use engine::Engine;
use std::fs;

/// Puts operations and threads into the log.
pub(crate) fn tell(engine: &Engine) {
    let operations = engine.operations();
    let threads = threads();
    tracing::info!(operations = operations.len(), threads = threads.len(), "what is under way, for SIGUSR1");
    for operation in &operations {
        tracing::info!("in flight: {operation}");
    }
    for thread in &threads {
        tracing::info!("thread: {thread}");
    }
}

/// The threads by number, name, state and where in the kernel each waits, as far as /proc tells.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let describe = |task: fs::DirEntry| {
        let read =
            |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default().trim().to_owned();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("unknown").trim();
        let waits = match read("wchan").as_str() {
            "" | "0" => String::new(),
            place => format!(", waits in {place}"),
        };
        format!("{} {}, {state}{waits}", task.file_name().to_string_lossy(), read("comm"))
    };
    tasks.map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_thread_is_among_the_threads() {
        let own = rustix::thread::gettid().as_raw_nonzero().to_string();
        let threads = threads();
        assert!(threads.iter().any(|line| line.starts_with(&format!("{own} "))), "{threads:?}");
    }
}
