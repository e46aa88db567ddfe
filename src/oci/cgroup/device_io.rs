//! A cgroup's input and output by device: its files may stay open.

use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// v1's files, of bytes and of operations.
const V1: [&str; 2] = ["blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced"];
const V2: &str = "io.stat";

/// More than a line of a device holds, many times: a read that gives less than this was the last.
const LAST: usize = 2 << 10;

/// Input and output on one block device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceIo {
    /// Device numbers.
    pub major: u32,
    /// Device numbers.
    pub minor: u32,
    /// The counters of `io.stat` by name, such as `rbytes`.
    pub counters: Vec<(String, u64)>,
}

impl DeviceIo {
    /// One counter; `None` when the kernel does not have it.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// The files that count a cgroup's input and output by device, open; absent where the host does not have them.
#[derive(Debug)]
pub(super) struct Devices {
    unified: bool,
    files: [Option<OwnedFd>; 2],
}

impl Devices {
    /// How many descriptors it holds at most.
    pub(super) const DESCRIPTORS: usize = 2;

    pub(super) fn open(host: &Host, path: &str) -> OciResult<Self> {
        if let Some(v2) = host.unified() {
            return Ok(Self { unified: true, files: [v2.reader(path, V2)?, None] });
        }
        let mut files = [None, None];
        if let Some(blkio) = host.v1_of("blkio") {
            for (file, name) in files.iter_mut().zip(V1) {
                // Older kernels count no cgroups below; the one of a container has none that matter.
                *file = match blkio.reader(path, &format!("{name}_recursive"))? {
                    Some(recursive) => Some(recursive),
                    None => blkio.reader(path, name)?,
                };
            }
        }
        Ok(Self { unified: false, files })
    }

    /// What they say now; nothing once the cgroup is gone.
    pub(super) fn read(&self) -> OciResult<Vec<DeviceIo>> {
        let [first, second] = &self.files;
        let first = text(first.as_ref())?;
        if self.unified {
            return Ok(first.lines().filter_map(device).collect());
        }
        Ok(devices_v1(&first, &text(second.as_ref())?))
    }
}

impl Host {
    /// A cgroup's input and output, by device.
    ///
    /// # Errors
    /// [`OciError::Io`]; an absent cgroup counts nothing.
    pub fn devices(&self, path: &CgroupPath) -> OciResult<Vec<DeviceIo>> {
        Devices::open(self, path.relative())?.read()
    }
}

fn text(file: Option<&OwnedFd>) -> OciResult<String> {
    let Some(file) = file else { return Ok(String::new()) };
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match rustix::io::pread(file, &mut buffer, bytes.len() as u64) {
            Ok(count) => {
                bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                if count < LAST {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            // The cgroup went away.
            Err(Errno::NODEV) => break,
            Err(error) => return Err(OciError::io("read", "the input and output of a cgroup")(error)),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`; with the cost model more of them, by dotted names.
fn device(line: &str) -> Option<DeviceIo> {
    let mut words = line.split(' ');
    let (major, minor) = words.next()?.split_once(':')?;
    let counters = words.filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Some(DeviceIo { major: major.parse().ok()?, minor: minor.parse().ok()?, counters: counters.collect() })
}

/// v1's lines `8:0 Read 1`, of bytes and of operations, under v2's names.
fn devices_v1(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut devices: BTreeMap<(u32, u32), Vec<(String, u64)>> = BTreeMap::new();
    for (text, unit) in [(bytes, "bytes"), (operations, "ios")] {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(device), Some(what), Some(count)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Some((major, minor)) = device.split_once(':') else { continue };
            let letter = match what {
                "Read" => 'r',
                "Write" => 'w',
                "Discard" => 'd',
                _ => continue,
            };
            if let (Ok(major), Ok(minor), Ok(count)) = (major.parse(), minor.parse(), count.parse()) {
                devices.entry((major, minor)).or_default().push((format!("{letter}{unit}"), count));
            }
        }
    }
    devices.into_iter().map(|((major, minor), counters)| DeviceIo { major, minor, counters }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_counters_of_its_line() {
        let found = device("253:16 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=0 dios=0 cost.usage=7").unwrap();
        assert_eq!((found.major, found.minor), (253, 16));
        assert_eq!((found.counter("rbytes"), found.counter("cost.usage")), (Some(10), Some(7)));
        assert_eq!(found.counter("cost.wait"), None);
        assert_eq!(device("8:0").unwrap().counters, []);
        assert_eq!(device(""), None);
    }

    #[test]
    fn v1_tells_the_same_in_two_files() {
        let bytes = "8:0 Read 4096\n8:0 Write 100\n8:0 Sync 4196\n8:0 Async 0\n8:0 Discard 7\n8:0 Total 4203\n\
            253:1 Read 1\nTotal 4204\n";
        let operations = "8:0 Read 2\n8:0 Write 1\n8:0 Total 3\nTotal 3\n";
        let found = devices_v1(bytes, operations);
        assert_eq!(found.iter().map(|io| (io.major, io.minor)).collect::<Vec<_>>(), [(8, 0), (253, 1)]);
        let counters =
            ["rbytes", "wbytes", "dbytes", "rios", "wios", "dios"].map(|name| found[0].counter(name));
        assert_eq!(counters, [Some(4096), Some(100), Some(7), Some(2), Some(1), None]);
        assert_eq!((found[1].counter("rbytes"), found[1].counter("rios")), (Some(1), None));
        assert_eq!(devices_v1("Total 0\n", ""), []);
    }
}
