//! Limits of block I/O, in the files of both versions.

use super::files::{Hierarchy, under};
use crate::error::{OciError, OciResult};
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// Major and minor number.
type Number = (i64, i64);

/// Weights, and rates of devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockIo {
    /// Among others, from 10 to 1000.
    weight: Option<u16>,
    weights: BTreeMap<Number, u16>,
    /// Bytes read and written, operations read and written, each a second; 0 is no limit.
    rates: [BTreeMap<Number, u64>; 4],
}

impl BlockIo {
    /// From the spec's.
    pub(super) fn from_spec(spec: &LinuxBlockIo) -> Self {
        let weight =
            |one: &LinuxWeightDevice| Some(((one.major(), one.minor()), one.weight().filter(|it| *it > 0)?));
        let rates = |list: &Option<Vec<LinuxThrottleDevice>>| {
            list.iter().flatten().map(|one| ((one.major(), one.minor()), one.rate())).collect()
        };
        Self {
            weight: spec.weight().filter(|weight| *weight > 0),
            weights: spec.weight_device().iter().flatten().filter_map(weight).collect(),
            rates: [
                rates(spec.throttle_read_bps_device()),
                rates(spec.throttle_write_bps_device()),
                rates(spec.throttle_read_iops_device()),
                rates(spec.throttle_write_iops_device()),
            ],
        }
    }

    pub(super) fn write_v1(&self, blkio: &Hierarchy, path: &str) -> OciResult<()> {
        const RATES: [&str; 4] =
            ["read_bps_device", "write_bps_device", "read_iops_device", "write_iops_device"];
        // Since Linux 5.0 weights are the business of one scheduler alone.
        let weights = if blkio.exists(&under(path, "blkio.weight")) { "blkio" } else { "blkio.bfq" };
        if let Some(weight) = self.weight {
            set_weight(blkio, path, &format!("{weights}.weight"), &weight.to_string())?;
        }
        for ((major, minor), weight) in &self.weights {
            let line = format!("{major}:{minor} {weight}");
            set_weight(blkio, path, &format!("{weights}.weight_device"), &line)?;
        }
        for (name, rates) in RATES.iter().zip(&self.rates) {
            for ((major, minor), rate) in rates {
                blkio.set(path, &format!("blkio.throttle.{name}"), format!("{major}:{minor} {rate}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn write_v2(&self, v2: &Hierarchy, path: &str) -> OciResult<()> {
        let bfq = v2.exists(&under(path, "io.bfq.weight"));
        let (file, scaled): (_, fn(u16) -> u64) =
            if bfq { ("io.bfq.weight", u64::from) } else { ("io.weight", weight_of) };
        if let Some(weight) = self.weight {
            set_weight(v2, path, file, &scaled(weight).to_string())?;
        }
        for ((major, minor), weight) in &self.weights {
            set_weight(v2, path, file, &format!("{major}:{minor} {}", scaled(*weight)))?;
        }
        for (number, line) in self.lines() {
            v2.set(path, "io.max", format!("{}:{} {line}", number.0, number.1))?;
        }
        Ok(())
    }

    /// What `io.max` has of each device.
    fn lines(&self) -> BTreeMap<Number, String> {
        const RATES: [&str; 4] = ["rbps", "wbps", "riops", "wiops"];
        let mut lines: BTreeMap<Number, String> = BTreeMap::new();
        for (name, rates) in RATES.iter().zip(&self.rates) {
            for (number, rate) in rates {
                let line = lines.entry(*number).or_default();
                let between = if line.is_empty() { "" } else { " " };
                let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
                line.push_str(&format!("{between}{name}={rate}"));
            }
        }
        lines
    }
}

/// A kernel without a scheduler that knows weights has no such file.
fn set_weight(hierarchy: &Hierarchy, path: &str, file: &str, value: &str) -> OciResult<()> {
    match hierarchy.set(path, file, value) {
        Err(OciError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let reason = format!("{value:?}: the host has no {file}");
            Err(OciError::invalid("linux.resources.blockIO.weight", reason))
        }
        other => other,
    }
}

/// v2's weight, from 1 to 10000, of v1's, from 10 to 1000, as runc and crun make it.
fn weight_of(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(json: &str) -> BlockIo {
        BlockIo::from_spec(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn weights_span_the_whole_range_of_v2() {
        for (v1, v2) in [(10, 1), (100, 910), (500, 4950), (1000, 10_000)] {
            assert_eq!(weight_of(v1), v2, "weight {v1}");
        }
    }

    #[test]
    fn rates_of_a_device_are_one_line() {
        let limits = parse(
            r#"{"weight": 80, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}, {"major": 7, "minor": 1, "rate": 5}]}"#,
        );
        assert_eq!(limits.weight, Some(80));
        let lines: Vec<_> = limits.lines().into_iter().collect();
        assert_eq!(lines, [((7, 1), "wiops=5".to_owned()), ((8, 0), "rbps=100 wiops=max".to_owned())]);
    }

    #[test]
    fn no_weight_is_none() {
        assert_eq!(
            parse(r#"{"weight": 0, "weightDevice": [{"major": 1, "minor": 1, "weight": 0}]}"#),
            BlockIo::default()
        );
    }
}
