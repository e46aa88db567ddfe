//! Ranges of user or group ids that are shown under other numbers.

use serde::{Deserialize, Serialize};

/// One range (CRI `IDMapping`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdMapping {
    /// The first id on the host.
    pub host_id: u32,
    /// The first id in the container.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}
