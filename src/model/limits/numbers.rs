//! Limits that are numbers. In requests and records 0 is none at all.

use crate::value::{ValueError, ValueResult};

macro_rules! within {
    ($(#[$doc:meta])* $name:ident, $least:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// The smallest one.
            pub const LEAST: Self = Self($least);
            /// The largest one.
            pub const MOST: Self = Self($most);

            /// Takes a number.
            ///
            /// # Errors
            /// [`ValueError::OutOfRange`].
            pub fn new(value: i64) -> ValueResult<Self> {
                if ($least..=$most).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(ValueError::OutOfRange { value, least: $least, most: $most })
                }
            }

            /// The one that is next to a number.
            #[must_use]
            pub fn nearest(value: i64) -> Self {
                Self(value.clamp($least, $most))
            }

            /// As a number.
            #[must_use]
            pub fn get(self) -> i64 {
                self.0
            }
        }
    };
}

within!(
    /// cgroup v1's relative weight of CPU time.
    CpuShares, 2, 262_144
);
within!(
    /// A CFS period in µs.
    CpuPeriod, 1_000, 1_000_000
);
within!(
    /// How readily the kernel kills for memory, proc_pid_oom_score_adj(5).
    #[derive(Default)]
    OomScore, -1_000, 1_000
);

impl OomScore {
    /// As the kernel's file and the runtime spec have it.
    #[must_use]
    pub fn get_i32(self) -> i32 {
        i32::try_from(self.0).unwrap_or_default()
    }
}

macro_rules! or_unlimited {
    ($(#[$doc:meta])* $name:ident, $least:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(i64);

        impl $name {
            /// No limit, which is not the same as nothing said.
            pub const UNLIMITED: Self = Self(-1);

            /// Takes a number; -1 is no limit.
            ///
            /// # Errors
            /// [`ValueError::NoLimit`].
            pub fn new(value: i64) -> ValueResult<Self> {
                if value == -1 || value >= $least {
                    Ok(Self(value))
                } else {
                    Err(ValueError::NoLimit { value, least: $least })
                }
            }

            /// The one that is next to a number; a negative one is no limit.
            #[must_use]
            pub fn nearest(value: i64) -> Self {
                if value < 0 { Self::UNLIMITED } else { Self(value.max($least)) }
            }

            /// As a number; -1 is no limit.
            #[must_use]
            pub fn get(self) -> i64 {
                self.0
            }

            /// The number, where there is a limit.
            #[must_use]
            pub fn limit(self) -> Option<i64> {
                (self.0 >= 0).then_some(self.0)
            }
        }
    };
}

or_unlimited!(
    /// µs of CPU time a period (CFS).
    CpuQuota, 1_000
);
or_unlimited!(
    /// Bytes of memory, or of memory and swap together.
    Bytes, 1
);

/// Whether a limit of memory and swap together goes with that of memory alone.
///
/// # Errors
/// [`ValueError::BelowMemory`] or [`ValueError::WithoutMemory`].
pub fn check_swap(memory: Option<Bytes>, both: Option<Bytes>) -> ValueResult<()> {
    match (memory.and_then(Bytes::limit), both.and_then(Bytes::limit)) {
        (None, Some(_)) => Err(ValueError::WithoutMemory),
        (Some(memory), Some(both)) if both < memory => Err(ValueError::BelowMemory { both }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_what_the_kernel_takes() {
        for (value, good) in [(1, false), (2, true), (262_144, true), (262_145, false), (-1, false)] {
            assert_eq!(CpuShares::new(value).is_ok(), good, "{value}");
        }
        let error = CpuShares::new(1).unwrap_err();
        assert_eq!(error.to_string(), "1 is not within 2 to 262144");
        assert_eq!(
            (CpuShares::nearest(0), CpuShares::nearest(i64::MAX)),
            (CpuShares::LEAST, CpuShares::MOST)
        );
        for (value, good) in [(999, false), (1_000, true), (1_000_001, false)] {
            assert_eq!(CpuPeriod::new(value).is_ok(), good, "{value}");
        }
        for (value, good) in [(-1_001, false), (-1_000, true), (0, true), (1_001, false)] {
            assert_eq!(OomScore::new(value).is_ok(), good, "{value}");
        }
        for (value, good) in [(-2, false), (-1, true), (0, false), (999, false), (1_000, true)] {
            assert_eq!(CpuQuota::new(value).is_ok(), good, "{value}");
        }
        assert_eq!(CpuQuota::new(999).unwrap_err().to_string(), "999 is neither -1 nor 1000 or more");
        for (value, good) in [(-2, false), (-1, true), (0, false), (1, true)] {
            assert_eq!(Bytes::new(value).is_ok(), good, "{value}");
        }
    }

    #[test]
    fn swap_includes_memory() {
        let check = |memory, both| check_swap(Bytes::new(memory).ok(), Bytes::new(both).ok());
        for (memory, both) in [(2, 2), (2, 3), (2, -1), (2, 0), (0, 0), (-1, -1), (0, -1)] {
            assert_eq!(check(memory, both), Ok(()), "{memory} {both}");
        }
        assert_eq!(check(2, 1), Err(ValueError::BelowMemory { both: 1 }));
        for memory in [0, -1] {
            assert_eq!(check(memory, 1), Err(ValueError::WithoutMemory), "{memory}");
        }
    }
}
