//! Shares of caches and of memory bandwidth, and which bits of a cache they are.

use super::document::Shares;
use super::ids::{decimal, numbers};

/// A share of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// So much of it.
    Percent(u64),
    /// From one percentage to another one.
    Range(u64, u64),
    /// These bits, which are beside each other.
    Bits(u64),
}

/// Shares of one cache: of code and data together, and of each where they are told apart.
#[derive(Debug, Clone)]
pub(super) struct Allocation {
    pub(super) unified: Share,
    pub(super) split: Option<[Share; 2]>,
}

impl Allocation {
    pub(super) const ALL: Self = Self { unified: Share::Percent(100), split: None };

    pub(super) fn read(asked: Shares) -> Result<Self, String> {
        let read = |name: &str, text: Option<String>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| Share::parse(&text).map_err(|reason| format!("{name}: {reason}"))).transpose()
        };
        let unified = read("unified", asked.unified)?;
        let (code, data) = (read("code", asked.code)?, read("data", asked.data)?);
        let unified = unified.ok_or("unified is not there, which code and data are beside")?;
        let split = match (code, data) {
            (Some(code), Some(data)) => Some([code, data]),
            (None, None) => None,
            (Some(_), None) => return Err("code is there without data".to_owned()),
            (None, Some(_)) => return Err("data is there without code".to_owned()),
        };
        Ok(Self { unified, split })
    }

    /// The share of one side where it has one.
    pub(super) fn own(&self, side: Side) -> Option<Share> {
        match side {
            Side::Unified => Some(self.unified),
            Side::Code => self.split.map(|[code, _]| code),
            Side::Data => self.split.map(|[_, data]| data),
        }
    }

    /// The share of one side.
    pub(super) fn of(&self, side: Side) -> Share {
        self.own(side).unwrap_or(self.unified)
    }
}

/// What of a cache is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Unified,
    Code,
    Data,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Unified, Self::Code, Self::Data];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Code => "code",
            Self::Data => "data",
        }
    }
}

impl Share {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let number = |text: &str| decimal(text).filter(|percent| *percent <= 100);
            let (first, last) = percent.split_once('-').map_or((percent, None), |(a, b)| (a, Some(b)));
            let found = match (number(first), last.map(number)) {
                (Some(percent), None) => Some(Self::Percent(percent)),
                (Some(first), Some(Some(last))) if first <= last => Some(Self::Range(first, last)),
                _ => None,
            };
            return found
                .ok_or_else(|| format!("{text:?} is no percentage or range of them from 0% to 100%"));
        }
        let bits = match text.strip_prefix("0x") {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).map_err(|_| format!("{text:?} is no mask of at most 64 bits"))
            }
            Some(_) => Err(format!("{text:?} is no mask of bits")),
            None => numbers(text, 63)
                .map(|bits| bits.into_iter().fold(0, |mask, bit| mask | 1 << bit))
                .map_err(|reason| format!("{text:?} is no percentage, mask or list of bits: {reason}")),
        }?;
        if !is_one_block(bits) {
            return Err(format!("{text:?} is not one block of bits"));
        }
        Ok(Self::Bits(bits))
    }

    /// The bits of this share of what `base` gives, at least so many.
    pub(super) fn within(self, base: u64, least: u64) -> Result<u64, String> {
        let (lowest, width) = (u64::from(base.trailing_zeros()), u64::from(base.count_ones()));
        if !is_one_block(base) || width < least {
            return Err(format!(
                "{base:#x}, of which it is a share, is not one block of at least {least} bits"
            ));
        }
        let (first, last) = match self {
            Self::Bits(bits) => {
                self.check_width(least)?;
                let moved = bits << lowest;
                if moved >> lowest != bits || moved & !base != 0 {
                    return Err(format!(
                        "{bits:#x} does not fit into the {width} bits that it is a share of"
                    ));
                }
                return Ok(moved);
            }
            Self::Percent(percent) => (1, percent),
            Self::Range(first, last) => (first.max(1), last),
        };
        if last == 0 {
            return Err("0% is no share that a class can have".to_owned());
        }
        // Percentages begin at 1, so that 100% ends at the last bit and not behind it.
        let (mut low, mut high) = ((first - 1) * width / 100, (last - 1) * width / 100);
        let lacking = least.saturating_sub(high - low + 1);
        let below = lacking.min(low);
        low -= below;
        high += lacking - below;
        Ok(ones(high - low + 1) << (low + lowest))
    }

    /// Refuses fewer bits than the host takes.
    pub(super) fn check_width(self, least: u64) -> Result<(), String> {
        match self {
            Self::Bits(bits) if u64::from(bits.count_ones()) < least => {
                Err(format!("{bits:#x} has fewer than the {least} bits that this host asks for"))
            }
            _ => Ok(()),
        }
    }
}

/// Bits that are set beside each other, at least one.
fn is_one_block(mask: u64) -> bool {
    mask != 0 && (mask >> mask.trailing_zeros()).trailing_ones() == mask.count_ones()
}

/// So many bits, the lowest.
pub(super) fn ones(count: u64) -> u64 {
    u32::try_from(count).ok().and_then(|count| 1_u64.checked_shl(count)).map_or(u64::MAX, |above| above - 1)
}

/// A bandwidth, by what the host may count it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bandwidth {
    pub(super) percent: Option<u64>,
    pub(super) mbps: Option<u64>,
}

impl Bandwidth {
    pub(super) const ALL: Self = Self { percent: Some(100), mbps: Some(u32::MAX as u64) };

    pub(super) fn read(list: Vec<String>) -> Result<Self, String> {
        let mut found = Self { percent: None, mbps: None };
        for text in list {
            let percent = text.strip_suffix('%').map(|number| (&mut found.percent, decimal(number), 100));
            let (place, number, most) = match (percent, text.strip_suffix("MBps")) {
                (Some(percent), _) => percent,
                (None, Some(number)) => (&mut found.mbps, decimal(number), u64::from(u32::MAX)),
                (None, None) => return Err(format!("{text:?} ends in neither % nor MBps")),
            };
            let number = number.filter(|number| *number <= most);
            let number = number.ok_or_else(|| format!("{text:?} is no number from 0 to {most}"))?;
            if place.replace(number).is_some() {
                return Err(format!("{text:?} is the second one of its unit"));
            }
        }
        Ok(found)
    }
}
