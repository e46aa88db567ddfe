//! What block devices are called.

use engine::DeviceIo;
use std::collections::HashMap;
use std::sync::Arc;

/// Names that were looked up, for one answer: later the numbers may be another device's.
#[derive(Debug, Default)]
pub(crate) struct DeviceNames(HashMap<(u32, u32), Arc<str>>);

impl DeviceNames {
    /// `/dev/sda` for its numbers, or the numbers.
    pub(super) fn of(&mut self, io: &DeviceIo) -> Arc<str> {
        let look_up = || look_up(io.major, io.minor).into();
        self.0.entry((io.major, io.minor)).or_insert_with(look_up).clone()
    }
}

fn look_up(major: u32, minor: u32) -> String {
    let numbers = format!("{major}:{minor}");
    let text = std::fs::read_to_string(format!("/sys/dev/block/{numbers}/uevent")).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map_or(numbers, |name| format!("/dev/{name}"))
}
