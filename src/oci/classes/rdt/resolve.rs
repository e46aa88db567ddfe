//! What classes get on a host: shares of partitions, which have no bits of a cache in common, as goresctrl gives them.

use super::file::{BANDWIDTH_KEY, CACHE_KEYS, Class, File, ROOT};
use super::host::{self, Host, Unit};
use super::ids::ById;
use super::share::{Allocation, Bandwidth, Share, Side, ones};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What becomes of a file on a host.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// What is written into the group of each class.
    pub(super) schemata: BTreeMap<String, String>,
    /// What of the file says nothing on this host.
    pub(super) notes: Vec<String>,
}

/// What partitions have, by their names, ids of caches, and sides.
type Grants<'a> = BTreeMap<(&'a str, u64, Side), u64>;

pub(super) fn resolve(file: &File, host: &Host) -> Result<Resolved, String> {
    let count = file.classes().filter(|(name, _)| *name != ROOT).count();
    if let Some(closids) =
        host.closids.filter(|closids| u64::try_from(count).is_ok_and(|count| count >= *closids))
    {
        let room = closids.saturating_sub(1);
        return Err(format!("there are {count} classes, and this host has room for {room} beside its root"));
    }
    let mut made = Resolved::default();
    for name in file.classes().map(|(name, _)| name) {
        made.schemata.insert(name.clone(), String::new());
    }
    for index in [0, 1] {
        match &host.caches[index] {
            Some(cache) => made.cache(file, index, cache)?,
            None => {
                made.lacking(file, index, CACHE_KEYS[index], |class| class.given.caches[index].is_some())?;
            }
        }
    }
    match &host.bandwidth {
        Some(found) if found.unit != Unit::Other => made.bandwidth(file, found)?,
        _ => made.lacking(file, 2, BANDWIDTH_KEY, |class| class.given.bandwidth.is_some())?,
    }
    Ok(made)
}

impl Resolved {
    /// What the host has not: refused where a class asks for it, unless it is optional.
    fn lacking(
        &mut self,
        file: &File,
        option: usize,
        key: &str,
        asks: impl Fn(&Class) -> bool,
    ) -> Result<(), String> {
        let Some((name, _)) = file.classes().find(|(_, class)| asks(class)) else { return Ok(()) };
        let name_of_option = ["l2", "l3", "mb"][option];
        if !file.optional[option] {
            return Err(format!(
                "class {name:?}: {key}: this host gives none, at least not so; options.{name_of_option}.optional passes it over"
            ));
        }
        self.notes.push(format!("{key} says nothing, as this host gives none"));
        Ok(())
    }

    fn cache(&mut self, file: &File, index: usize, cache: &host::Cache) -> Result<(), String> {
        let key = CACHE_KEYS[index];
        let grants = grants(file, index, cache).map_err(|reason| format!("{key}: {reason}"))?;
        for (partition, found) in &file.partitions {
            self.note_ids(&format!("partition {partition:?}: {key}"), &found.given.caches[index], &cache.ids);
            for (name, class) in &found.classes {
                let asked = &class.given.caches[index];
                let place = format!("class {name:?}: {key}");
                self.note_ids(&place, asked, &cache.ids);
                let lines = self.schemata.entry(name.clone()).or_default();
                for side in cache.sides() {
                    let base = |id| {
                        let own = grants.get(&(partition.as_str(), id, *side));
                        let unified = || grants.get(&(partition.as_str(), id, Side::Unified));
                        own.or_else(unified).copied().unwrap_or(cache.mask)
                    };
                    let mut values = Vec::new();
                    for id in &cache.ids {
                        let mask = asked.as_ref().map_or(Ok(base(*id)), |asked| {
                            asked.get(*id).of(*side).within(base(*id), cache.least_bits)
                        });
                        let mask =
                            mask.map_err(|reason| format!("{place}: cache {id}: {}: {reason}", side.name()))?;
                        values.push(format!("{id}={mask:x}"));
                    }
                    let level = ["L2", "L3"][index];
                    let kind =
                        if *side == Side::Unified { String::new() } else { side.name().to_uppercase() };
                    // Nothing that is written to text fails.
                    let _ = writeln!(lines, "{level}{kind}:{}", values.join(";"));
                }
            }
        }
        Ok(())
    }

    fn bandwidth(&mut self, file: &File, host: &host::Bandwidth) -> Result<(), String> {
        let (unit, whole) = match host.unit {
            Unit::Mbps => ("MBps", u64::from(u32::MAX)),
            Unit::Percent | Unit::Other => ("%", 100),
        };
        let value = |asked: &Option<ById<Bandwidth>>, id| {
            let Some(asked) = asked.as_ref().map(|asked| asked.get(id)) else { return Ok(whole) };
            let value = if host.unit == Unit::Mbps { asked.mbps } else { asked.percent };
            value.ok_or_else(|| {
                format!("{BANDWIDTH_KEY}: cache {id} has no value in {unit}, which this host counts in")
            })
        };
        for (partition, found) in &file.partitions {
            let place = format!("partition {partition:?}");
            self.note_ids(&format!("{place}: {BANDWIDTH_KEY}"), &found.given.bandwidth, &host.ids);
            let mut bases = Vec::new();
            for id in &host.ids {
                let base =
                    value(&found.given.bandwidth, *id).map_err(|reason| format!("{place}: {reason}"))?;
                bases.push((*id, base));
            }
            for (name, class) in &found.classes {
                let place = format!("class {name:?}");
                self.note_ids(&format!("{place}: {BANDWIDTH_KEY}"), &class.given.bandwidth, &host.ids);
                let mut values = Vec::new();
                for (id, base) in &bases {
                    let asked =
                        value(&class.given.bandwidth, *id).map_err(|reason| format!("{place}: {reason}"))?;
                    let value = match host.unit {
                        Unit::Mbps => asked.min(*base),
                        // Less than the least is refused by the kernel.
                        Unit::Percent | Unit::Other => {
                            (asked * (*base).max(host.least) / 100).max(host.least)
                        }
                    };
                    values.push(format!("{id}={value}"));
                }
                let lines = self.schemata.entry(name.clone()).or_default();
                let _ = writeln!(lines, "MB:{}", values.join(";"));
            }
        }
        Ok(())
    }

    fn note_ids<T: Clone>(&mut self, place: &str, asked: &Option<ById<T>>, ids: &[u64]) {
        let named = asked.iter().flat_map(ById::named);
        let missing: Vec<String> = named.filter(|id| !ids.contains(id)).map(|id| id.to_string()).collect();
        if !missing.is_empty() {
            self.notes.push(format!("{place}: this host has no cache {}", missing.join(", ")));
        }
    }
}

/// What of each cache the partitions have.
fn grants<'a>(file: &'a File, index: usize, cache: &host::Cache) -> Result<Grants<'a>, String> {
    let mut grants = Grants::new();
    for id in &cache.ids {
        for side in Side::ALL {
            let own =
                |asked: &Option<ById<Allocation>>| asked.as_ref().and_then(|asked| asked.get(*id).own(side));
            let asked =
                file.partitions.iter().map(|(name, one)| (name.as_str(), own(&one.given.caches[index])));
            let (some, none): (Vec<_>, Vec<_>) = asked.partition(|(_, share)| share.is_some());
            if some.is_empty() {
                continue;
            }
            let place = |reason| format!("cache {id}: {}: {reason}", side.name());
            if let Some((name, _)) = none.first() {
                return Err(place(format!("partition {name:?} has none, which others have")));
            }
            let some = some.into_iter().filter_map(|(name, share)| Some((name, share?)));
            let masks = masks(&some.collect::<Vec<_>>(), cache).map_err(place)?;
            grants.extend(masks.into_iter().map(|(name, mask)| ((name, *id, side), mask)));
        }
    }
    Ok(grants)
}

type Masks<'a> = Vec<(&'a str, u64)>;

fn masks<'a>(asked: &[(&'a str, Share)], cache: &host::Cache) -> Result<Masks<'a>, String> {
    let bits = |(name, share)| match share {
        Share::Bits(bits) => Ok((name, bits)),
        Share::Percent(_) | Share::Range(..) => Err(name),
    };
    let percent = |(name, share)| match share {
        Share::Percent(percent) => Ok((name, percent)),
        Share::Bits(_) | Share::Range(..) => Err(name),
    };
    let absolute: Result<Masks<'a>, &str> = asked.iter().copied().map(bits).collect();
    match (absolute, asked.iter().copied().map(percent).collect::<Result<Masks<'a>, &str>>()) {
        (Ok(masks), _) => apart(masks, cache),
        (_, Ok(percents)) => shared_out(&percents, cache),
        (Err(one), Err(other)) => Err(format!(
            "partition {one:?} has a percentage and partition {other:?} bits: all have the one or the other"
        )),
    }
}

/// Bits that partitions name.
fn apart<'a>(masks: Masks<'a>, cache: &host::Cache) -> Result<Masks<'a>, String> {
    let mut taken = 0;
    for (name, mask) in &masks {
        let refuse = |reason: String| format!("partition {name:?}: {reason}");
        Share::Bits(*mask).check_width(cache.least_bits).map_err(refuse)?;
        if mask & !cache.mask != 0 {
            return Err(refuse(format!("{mask:#x} is not within {:#x}, which the cache has", cache.mask)));
        }
        if mask & taken != 0 {
            return Err(refuse(format!("{mask:#x} has bits that another partition has too")));
        }
        taken |= mask;
    }
    Ok(masks)
}

/// Percentages of partitions as whole bits: the smaller ones first, which may have to be rounded up to the least; the
/// largest has what remains.
fn shared_out<'a>(asked: &[(&'a str, u64)], cache: &host::Cache) -> Result<Masks<'a>, String> {
    let total: u64 = asked.iter().map(|(_, percent)| percent).sum();
    if total > 100 {
        return Err(format!("the partitions ask for {total}% together"));
    }
    let bits = total * u64::from(cache.mask.trailing_ones()) / 100;
    let mut by_size = asked.to_vec();
    by_size.sort_by_key(|(_, percent)| *percent);
    let (mut left, mut counts) = (bits, BTreeMap::new());
    for (position, (name, percent)) in by_size.iter().enumerate() {
        let share =
            (left * total).checked_div(bits).and_then(|left_of| (percent * left).checked_div(left_of));
        let share = share.filter(|_| left >= cache.least_bits);
        let share =
            share.ok_or_else(|| format!("partition {name:?}: too few bits are left for its {percent}%"))?;
        let is_last = position + 1 == by_size.len();
        let count = if is_last { left } else { share.max(cache.least_bits).min(left) };
        counts.insert(*name, count);
        left -= count;
    }
    let mut lowest = 0;
    let masks = asked.iter().map(|(name, _)| {
        let count = counts.get(name).copied().unwrap_or_default();
        let mask = ones(count).checked_shl(lowest).unwrap_or_default();
        lowest += u32::try_from(count).unwrap_or_default();
        (*name, mask)
    });
    Ok(masks.collect())
}
