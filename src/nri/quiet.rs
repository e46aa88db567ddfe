//! Complaints that somebody else can cause at will.

use std::time::{Duration, Instant};

/// So many at once are told,
const BURST: u32 = 10;
/// and no more until so much later.
const PAUSE: Duration = Duration::from_secs(10);

/// Which complaints go unsaid.
#[derive(Debug)]
pub(crate) struct Quiet {
    burst: u32,
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self::of(BURST)
    }
}

impl Quiet {
    /// So many at once are told.
    pub(crate) fn of(burst: u32) -> Self {
        Self { burst, since: None, said: 0, unsaid: 0 }
    }

    /// Whether one may be told, and how many were not before it.
    pub(crate) fn may_say(&mut self) -> Option<u64> {
        if self.since.is_none_or(|since| since.elapsed() > PAUSE) {
            (self.since, self.said) = (Some(Instant::now()), 0);
        }
        if self.said == self.burst {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// For the log, where some were not told.
pub(crate) fn told(unsaid: u64) -> Option<u64> {
    (unsaid > 0).then_some(unsaid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_a_few_words() {
        let mut quiet = Quiet::default();
        let said = (0..1000).filter(|_| quiet.may_say().is_some()).count();
        assert_eq!(said, BURST as usize);
        quiet.since = Instant::now().checked_sub(2 * PAUSE);
        assert_eq!(quiet.may_say(), Some(1000 - u64::from(BURST)));
        assert_eq!(quiet.may_say(), Some(0));
    }
}
