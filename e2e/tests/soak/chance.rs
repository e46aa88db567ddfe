//! Chance that can be had again: numbers of a seed, one stream for each who decides, so that nobody's decisions depend on
//! how fast another one is.

/// A stream of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of a name and a number.
    pub(crate) fn new(seed: u64, name: &str, number: u64) -> Self {
        let mut mixed = Self(seed);
        for byte in name.bytes().chain(number.to_le_bytes()) {
            mixed.0 = mixed.next() ^ u64::from(byte);
        }
        Self(mixed.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of the numbers below an end.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether the one of so many is met.
    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

#[test]
fn a_stream_is_its_name_s_and_comes_again() {
    let first = |seed, name, number| Chance::new(seed, name, number).next();
    assert_eq!(first(1, "pods", 0), first(1, "pods", 0));
    let others = [first(1, "pods", 1), first(1, "faults", 0), first(2, "pods", 0)];
    assert!(!others.contains(&first(1, "pods", 0)), "{others:?}");
    let mut chance = Chance::new(1, "pods", 0);
    let met = (0..3000).filter(|_| chance.one_in(3)).count();
    assert!((800..1200).contains(&met), "{met}");
}
