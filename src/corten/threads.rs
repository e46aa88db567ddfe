//! Whether the process may have the threads that it begins with: who makes them asserts that it gets each, and a daemon of
//! which half has begun would neither serve nor end.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

/// The least that a thread can be given (`PTHREAD_STACK_MIN`).
const STACK: usize = 16 << 10;

/// Has so many more threads at once, for a moment.
///
/// # Errors
/// The kernel's: `EAGAIN` where a limit of processes (`TasksMax=`, a cgroup's `pids.max`) does not let it.
pub(crate) fn there_is_room_for(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    scope(|scope| {
        let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = || drop(gate.lock());
        let made =
            (0..count).try_for_each(|_| Builder::new().stack_size(STACK).spawn_scoped(scope, wait).map(drop));
        drop(closed);
        made
    })
}
