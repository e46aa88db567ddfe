//! Waiting for what is to come, instead of for so long.

use crate::error::Error;
use std::time::{Duration, Instant};

/// Looks until something holds.
///
/// # Errors
/// When it does not in time.
pub fn until(what: &'static str, after: Duration, mut holds: impl FnMut() -> bool) -> Result<(), Error> {
    let end = Instant::now() + after;
    while !holds() {
        if Instant::now() > end {
            return Err(Error::Late { what, after, last: "it does not hold".to_owned() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
