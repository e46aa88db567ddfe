//! What a shim can do, as named bits that it states in its greeting.
//!
//! A pod keeps the shim that it was made with for as long as it lives, so that after an upgrade the daemon speaks
//! with shims of former releases. A field that such a shim does not know it would skip, and a container would run
//! without its hooks or its label. So whatever came after the first messages belongs to a [`Feature`];
//! [`Request::needs`](crate::msg::Request::needs) tells those that a request makes use of, and the daemon asks no shim
//! for what it has not stated.

use std::fmt;
use std::ops::BitOr;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $words:literal;)*) => {
        /// Something that not every shim can do. A bit keeps its meaning for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Feature {
            $($(#[$doc])* $name = $bit,)*
        }

        impl Feature {
            /// Every feature that this version knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What a shim without it cannot do.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words),* }
            }
        }
    };
}

features! {
    /// Commands and clients with streams of their own.
    Streams = 0, "open streams";
    /// A pod with a user namespace of its own.
    UserNamespaces = 1, "make user namespaces";
    /// Mounts that show their owners through other ids.
    IdmappedMounts = 2, "map the owners of mounts";
    /// Flags of a mount to take away, and flags of what is mounted below it.
    MountFlags = 3, "take flags from mounts or set those of mounts below";
    /// Overlays as mounts.
    ImageVolumes = 4, "mount images as volumes";
    /// A root that is a directory of the host.
    DirectoryRoots = 5, "use a directory as the root";
    /// Containers that an OCI runtime makes.
    Runtimes = 6, "leave containers to an OCI runtime";
    /// Programs of the host on the way to a container.
    Hooks = 7, "run hooks";
    /// Filters that ask somebody.
    SeccompAgents = 8, "bring a seccomp filter to its agent";
    /// Profiles of AppArmor.
    AppArmor = 9, "apply AppArmor profiles";
    /// Labels of processes and files.
    Selinux = 10, "apply SELinux labels";
    /// The size of a terminal before its program runs.
    TerminalSizes = 11, "give a terminal its size from the beginning";
    /// Turns at disks.
    IoPriorities = 12, "set I/O priorities";
    /// Turns on CPUs.
    Schedulers = 13, "set schedulers";
    /// Nodes of memory.
    MemoryPolicies = 14, "set memory policies";
    /// Groups of the resctrl filesystem.
    CacheClasses = 15, "join classes of cache";
    /// The end of a command that nobody waits for.
    ExecKills = 16, "end commands that nobody waits for";
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);

    /// These features.
    pub const fn of(list: &[Feature]) -> Self {
        let mut bits = 0;
        let mut rest = list;
        while let [first, tail @ ..] = rest {
            bits |= 1 << *first as u8;
            rest = tail;
        }
        Self(bits)
    }

    /// The feature, where it is made use of.
    pub(crate) const fn when(used: bool, feature: Feature) -> Self {
        if used { Self::of(&[feature]) } else { Self::NONE }
    }

    /// The set as a shim states it, with bits that this version may not know.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as a number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// There is none in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of this set that the other has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Features> for Features {
    fn from_iter<I: IntoIterator<Item = Features>>(sets: I) -> Self {
        sets.into_iter().fold(Self::NONE, BitOr::bitor)
    }
}

impl fmt::Display for Features {
    /// In words: what a shim without them cannot do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |feature: &&Feature| Self::of(&[**feature]).without(*self).is_empty();
        let mut between = "";
        for feature in Feature::ALL.iter().filter(named) {
            write!(f, "{between}{}", feature.words())?;
            between = " or ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_says_in_words_what_is_in_it() {
        let set = Features::of(&[Feature::Hooks, Feature::Selinux]);
        assert_eq!(set.to_string(), "run hooks or apply SELinux labels");
        assert_eq!(Features::NONE.to_string(), "");
        assert_eq!(set.without(Features::of(&[Feature::Hooks])), Features::of(&[Feature::Selinux]));
        assert!(set.without(Features::of(Feature::ALL)).is_empty());
        assert!(!set.is_empty());
    }

    #[test]
    fn every_feature_has_a_bit_of_its_own() {
        let all = Features::of(Feature::ALL).bits();
        assert_eq!(all.count_ones() as usize, Feature::ALL.len());
        assert_eq!(Features::from_bits(all), Features::of(Feature::ALL));
    }
}
