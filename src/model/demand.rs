//! How many of something that is made ahead are to wait, by how many were wanted of late.

use std::time::{Duration, Instant};

/// As many wait on a node on which nothing happens.
const IDLE: usize = 2;
/// For so long after pods have wanted more at once, more wait.
const CALM: Duration = Duration::from_secs(60);

/// What pods want of it.
#[derive(Debug, Default)]
pub struct Demand {
    /// The setting.
    most: usize,
    /// Since as many waited as are to.
    wanted: usize,
    /// Of those, the most.
    at_once: usize,
    calm_at: Option<Instant>,
}

impl Demand {
    /// So many may wait, which none may before this was called.
    pub fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// A pod wants one.
    pub fn want(&mut self, now: Instant) {
        self.wanted += 1;
        if self.wanted > IDLE {
            self.at_once = self.at_once.max(self.wanted);
            self.calm_at = Some(now + CALM);
        }
    }

    /// As many wait as are to.
    pub fn is_met(&mut self) {
        self.wanted = 0;
    }

    /// How many are to wait.
    pub fn goal(&mut self, now: Instant) -> usize {
        if self.calm_at.is_some_and(|at| at <= now) {
            (self.at_once, self.calm_at) = (0, None);
        }
        self.at_once.max(IDLE).min(self.most)
    }

    /// When fewer will be, if nobody wants any.
    pub fn calm_at(&self) -> Option<Instant> {
        self.calm_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_wait_as_were_wanted_at_once_and_two_on_an_idle_node() {
        let (mut demand, begin) = (Demand::default(), Instant::now());
        assert_eq!(demand.goal(begin), 0, "nobody has said how many may");
        demand.limit(8);
        assert_eq!(demand.goal(begin), 2);
        // One after the other.
        for _ in 0..10 {
            demand.want(begin);
            demand.is_met();
        }
        assert_eq!((demand.goal(begin), demand.calm_at()), (2, None));
        for _ in 0..5 {
            demand.want(begin);
        }
        assert_eq!(demand.goal(begin), 5);
        demand.is_met();
        let nearly = begin + CALM * 9 / 10;
        for _ in 0..3 {
            demand.want(nearly);
        }
        assert_eq!(demand.goal(begin + CALM), 5, "a little less is no calm");
        demand.is_met();
        assert_eq!(demand.goal(nearly + CALM), 2);
        assert_eq!(demand.calm_at(), None);
    }

    #[test]
    fn never_more_wait_than_are_to() {
        let (mut demand, begin) = (Demand::default(), Instant::now());
        demand.limit(4);
        for _ in 0..100 {
            demand.want(begin);
        }
        assert_eq!(demand.goal(begin), 4);
        for most in [1, 0, 64] {
            demand.limit(most);
            assert_eq!(demand.goal(begin), most);
        }
    }
}
