//! The devices that every container may use.

use super::files::Hierarchy;
use super::resources::DeviceAccess;
use crate::error::OciResult;

/// Making any node is harmless, opening one counts. Then: null, zero, full, random, urandom, tty, console, ptmx,
/// and the slaves of devpts.
pub(super) const DEFAULT: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Writes v1's list: everything is denied, then what is allowed, one rule a write as the kernel wants it.
pub(super) fn write_v1(devices: &Hierarchy, path: &str, access: &DeviceAccess) -> OciResult<()> {
    match access {
        DeviceAccess::Unchanged => Ok(()),
        DeviceAccess::All => devices.write(path, "devices.allow", "a"),
        DeviceAccess::Only(more) => {
            devices.write(path, "devices.deny", "a")?;
            let allow = devices.writer(path, "devices.allow")?;
            DEFAULT
                .iter()
                .copied()
                .chain(more.iter().map(String::as_str))
                .try_for_each(|rule| allow.write(rule))
        }
    }
}
