//! Locks whose holder may have panicked. What each of them guards is whole between any two statements, so that a panic
//! says nothing of it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Takes a lock.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits with a lock until the condition holds no longer.
pub fn wait_while<'a, T>(
    changed: &Condvar,
    held: MutexGuard<'a, T>,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    changed.wait_while(held, condition).unwrap_or_else(PoisonError::into_inner)
}
