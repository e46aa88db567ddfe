//! What the kernel tells of the caches and the bandwidth that can be given.

use super::share::Side;
use crate::error::{OciError, OciResult};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where the kernel's groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resctrl {
    /// Where the filesystem is mounted.
    pub root: PathBuf,
    /// The mounts, which tell with which options.
    pub mounts: PathBuf,
}

impl Default for Resctrl {
    fn default() -> Self {
        Self { root: "/sys/fs/resctrl".into(), mounts: "/proc/self/mounts".into() }
    }
}

/// No file of the kernel's is read further.
pub(super) const LIMIT: u64 = 1 << 20;

/// What a host can give.
#[derive(Debug)]
pub(super) struct Host {
    /// Second and third level.
    pub(super) caches: [Option<Cache>; 2],
    pub(super) bandwidth: Option<Bandwidth>,
    /// How many groups there may be, with the root.
    pub(super) closids: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) ids: Vec<u64>,
    pub(super) mask: u64,
    pub(super) least_bits: u64,
    /// Code and data are given apart.
    pub(super) split: bool,
}

impl Cache {
    /// What the lines of schemata are of.
    pub(super) fn sides(&self) -> &'static [Side] {
        if self.split { &[Side::Code, Side::Data] } else { &[Side::Unified] }
    }
}

#[derive(Debug)]
pub(super) struct Bandwidth {
    pub(super) ids: Vec<u64>,
    pub(super) least: u64,
    pub(super) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Percent,
    Mbps,
    /// What AMD's processors count in, for which the form has no word.
    Other,
}

impl Host {
    pub(super) fn read(resctrl: &Resctrl) -> OciResult<Self> {
        let info = resctrl.root.join("info");
        let schemata = text(&resctrl.root.join("schemata"))?;
        let mut closids = Vec::new();
        let mut caches = [None, None];
        for (cache, level) in caches.iter_mut().zip(["L2", "L3"]) {
            let kinds = [("", false), ("CODE", true), ("DATA", true)];
            for (dir, split) in kinds.map(|(kind, split)| (info.join(format!("{level}{kind}")), split)) {
                if !dir.exists() {
                    continue;
                }
                closids.push(number(&dir.join("num_closids"), 10)?);
                let mask = number(&dir.join("cbm_mask"), 16)?;
                // Processors that say 0 take no group that has nothing from this form all the same.
                let least_bits = number(&dir.join("min_cbm_bits"), 10)?.max(1);
                if mask != 0 {
                    let ids = values(&schemata, level, &resctrl.root)?.into_iter().map(|(id, _)| id);
                    *cache = Some(Cache { ids: ids.collect(), mask, least_bits, split });
                }
            }
        }
        let dir = info.join("MB");
        let mut bandwidth = None;
        if dir.exists() {
            closids.push(number(&dir.join("num_closids"), 10)?);
            let least = number(&dir.join("min_bandwidth"), 10)?;
            let found = values(&schemata, "MB", &resctrl.root)?;
            let unit =
                match found.iter().any(|(_, value)| value.parse::<u64>().is_ok_and(|value| value > 100)) {
                    _ if has_option(resctrl, "mba_MBps") => Unit::Mbps,
                    true => Unit::Other,
                    false => Unit::Percent,
                };
            let ids = found.into_iter().map(|(id, _)| id).collect();
            bandwidth = (least != 0).then_some(Bandwidth { ids, least, unit });
        }
        Ok(Self { caches, bandwidth, closids: closids.into_iter().min() })
    }
}

/// Ids and values of the line of schemata that begins so.
fn values(schemata: &str, resource: &str, root: &Path) -> OciResult<Vec<(u64, String)>> {
    let refuse = |reason| OciError::invalid(root.join("schemata").display().to_string(), reason);
    let lines = schemata.lines().filter_map(|line| line.trim().split_once(':'));
    let line = lines.filter(|(name, _)| name.starts_with(resource)).map(|(_, line)| line).next();
    let line = line.ok_or_else(|| refuse(format!("has no line of {resource}")))?;
    let mut found = Vec::new();
    for entry in line.split(';') {
        let (id, value) = entry.split_once('=').unwrap_or((entry, ""));
        let id = id.trim().parse().map_err(|_| refuse(format!("has no ids in its line of {resource}")))?;
        found.push((id, value.trim().to_owned()));
    }
    found.sort_unstable();
    Ok(found)
}

fn number(path: &Path, radix: u32) -> OciResult<u64> {
    let text = text(path)?;
    u64::from_str_radix(text.trim(), radix)
        .map_err(|_| OciError::invalid(path.display().to_string(), format!("{:?} is no number", text.trim())))
}

fn has_option(resctrl: &Resctrl, option: &str) -> bool {
    let Ok(mounts) = text(&resctrl.mounts) else { return false };
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut options = fields.filter_map(|fields| match fields.as_slice() {
        [_, place, "resctrl", options, ..] if Path::new(place) == resctrl.root => Some(options.to_string()),
        _ => None,
    });
    options.any(|options| options.split(',').any(|one| one == option))
}

/// A file of the kernel's.
pub(super) fn text(path: &Path) -> OciResult<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(OciError::io("read", path))?;
    file.take(LIMIT).read_to_string(&mut text).map_err(OciError::io("read", path))?;
    Ok(text)
}
