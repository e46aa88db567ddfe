//! Instances of the kernel's trace (tracefs) that a benchmark writes. They outlive who made them, and cost every system call
//! of the host.

use std::fs;
use std::path::{Path, PathBuf};

const INSTANCES: &str = "/sys/kernel/tracing/instances";
const PREFIX: &str = "corten-bench-";

/// Where this process has its own.
pub fn own() -> PathBuf {
    Path::new(INSTANCES).join(format!("{PREFIX}{}", std::process::id()))
}

/// Removes one, if it is there.
pub fn remove(instance: &Path) {
    // It may not be removed while it writes.
    let _ = fs::write(instance.join("tracing_on"), "0");
    let _ = fs::remove_dir(instance);
}

/// Removes those of processes that are no more.
pub fn remove_left() {
    for entry in fs::read_dir(INSTANCES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}
