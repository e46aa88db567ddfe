//! Classes of block I/O, in the form of goresctrl's files, which both peers read.

use super::quantity;
use crate::error::{OciError, OciResult};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDevice,
    LinuxWeightDeviceBuilder,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A file, checked.
#[derive(Debug)]
pub(super) struct File {
    classes: BTreeMap<String, Vec<Checked>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    #[serde(rename = "Classes", alias = "classes")]
    classes: BTreeMap<String, Vec<Parameters>>,
}

/// What some devices get; none named: all the others.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    #[serde(rename = "Devices", alias = "devices")]
    devices: Option<Vec<String>>,
    #[serde(rename = "ThrottleReadBps", alias = "throttleReadBps")]
    read_bps: Option<Quantity>,
    #[serde(rename = "ThrottleWriteBps", alias = "throttleWriteBps")]
    write_bps: Option<Quantity>,
    #[serde(rename = "ThrottleReadIOPS", alias = "throttleReadIOPS")]
    read_iops: Option<Quantity>,
    #[serde(rename = "ThrottleWriteIOPS", alias = "throttleWriteIOPS")]
    write_iops: Option<Quantity>,
    #[serde(rename = "Weight", alias = "weight")]
    weight: Option<Quantity>,
}

/// A number, with or without quotes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(i64),
    Text(String),
}

#[derive(Debug)]
struct Checked {
    devices: Option<Vec<String>>,
    /// Bytes read and written, operations read and written, each a second.
    rates: [Option<u64>; 4],
    weight: Option<u16>,
}

/// Reads a file.
pub(super) fn parse(path: &Path, text: &str) -> OciResult<File> {
    let refuse = |reason: String| OciError::invalid(path.display().to_string(), reason);
    let document: Document = crate::yaml::parse(text).map_err(refuse)?;
    let mut classes = BTreeMap::new();
    for (name, list) in document.classes {
        let checked = list.into_iter().map(check).collect::<Result<_, _>>();
        let checked = checked.map_err(|reason| refuse(format!("class {name:?}: {reason}")))?;
        classes.insert(name, checked);
    }
    Ok(File { classes })
}

fn check(asked: Parameters) -> Result<Checked, String> {
    let rates = [
        number("ThrottleReadBps", asked.read_bps, 0..=i64::MAX)?,
        number("ThrottleWriteBps", asked.write_bps, 0..=i64::MAX)?,
        number("ThrottleReadIOPS", asked.read_iops, 0..=i64::MAX)?,
        number("ThrottleWriteIOPS", asked.write_iops, 0..=i64::MAX)?,
    ];
    let weight = number("Weight", asked.weight, 10..=1000)?;
    for pattern in asked.devices.iter().flatten() {
        glob::Pattern::new(pattern).map_err(|error| format!("Devices {pattern:?}: {}", error.msg))?;
    }
    if asked.devices.is_none() && rates.iter().any(Option::is_some) {
        return Err("rates need Devices that they are of".to_owned());
    }
    Ok(Checked {
        devices: asked.devices,
        rates: rates.map(|rate| rate.map(i64::unsigned_abs)),
        weight: weight.and_then(|weight| u16::try_from(weight).ok()),
    })
}

fn number(
    name: &str,
    quantity: Option<Quantity>,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, String> {
    let text = match quantity {
        None => return Ok(None),
        Some(Quantity::Text(text)) if text.is_empty() => return Ok(None),
        Some(Quantity::Text(text)) => text,
        Some(Quantity::Number(number)) => number.to_string(),
    };
    let value = quantity::parse(&text).ok_or_else(|| format!("{name} {text:?} is no quantity"))?;
    if range.contains(&value) {
        return Ok(Some(value));
    }
    Err(format!("{name} {value} is not within {} to {}", range.start(), range.end()))
}

type Number = (i64, i64);

impl File {
    /// Classes with each of their devices that this host has not.
    pub(super) fn absent(&self) -> Vec<(&str, &str)> {
        let mut absent = Vec::new();
        for (class, list) in &self.classes {
            let patterns = list.iter().flat_map(|entry| entry.devices.iter().flatten());
            let missing = patterns.filter(|pattern| block_devices(pattern).is_empty());
            absent.extend(missing.map(|pattern| (class.as_str(), pattern.as_str())));
        }
        absent.dedup();
        absent
    }

    /// A class, for the devices that are there now: a later entry about a device goes before an earlier one.
    pub(super) fn class(&self, name: &str) -> OciResult<Option<LinuxBlockIo>> {
        let Some(list) = self.classes.get(name) else { return Ok(None) };
        let mut made = LinuxBlockIo::default();
        let mut weights: BTreeMap<Number, u64> = BTreeMap::new();
        let mut rates: [BTreeMap<Number, u64>; 4] = Default::default();
        for entry in list {
            let Some(patterns) = &entry.devices else {
                made.set_weight(entry.weight.or(made.weight()));
                continue;
            };
            for device in patterns.iter().flat_map(|pattern| block_devices(pattern)) {
                weights.extend(entry.weight.map(|weight| (device, u64::from(weight))));
                for (all, rate) in rates.iter_mut().zip(entry.rates) {
                    all.extend(rate.map(|rate| (device, rate)));
                }
            }
        }
        let [read_bps, write_bps, read_iops, write_iops] = rates;
        made.set_weight_device(some(weights, weight)?)
            .set_throttle_read_bps_device(some(read_bps, throttle)?)
            .set_throttle_write_bps_device(some(write_bps, throttle)?)
            .set_throttle_read_iops_device(some(read_iops, throttle)?)
            .set_throttle_write_iops_device(some(write_iops, throttle)?);
        Ok(Some(made))
    }
}

fn some<T>(
    map: BTreeMap<Number, u64>,
    one: impl Fn((Number, u64)) -> OciResult<T>,
) -> OciResult<Option<Vec<T>>> {
    if map.is_empty() {
        return Ok(None);
    }
    map.into_iter().map(one).collect::<OciResult<_>>().map(Some)
}

fn weight(((major, minor), weight): (Number, u64)) -> OciResult<LinuxWeightDevice> {
    let weight = u16::try_from(weight).unwrap_or(u16::MAX);
    Ok(LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build()?)
}

fn throttle(((major, minor), rate): (Number, u64)) -> OciResult<LinuxThrottleDevice> {
    Ok(LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build()?)
}

/// The block devices of a pattern, links followed.
fn block_devices(pattern: &str) -> Vec<Number> {
    let inside = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    // That it is a pattern was looked at when the file was read; where nobody may look there is no device.
    let found = glob::glob_with(pattern, inside).into_iter().flatten().flatten();
    let found = found.filter_map(|path| std::fs::metadata(path).ok());
    let devices = found.filter(|found| found.file_type().is_block_device());
    devices
        .map(|found| (rustix::fs::major(found.rdev()).into(), rustix::fs::minor(found.rdev()).into()))
        .collect()
}
