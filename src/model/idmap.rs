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

impl IdMapping {
    /// What an id inside is on the host; `None` when it is not mapped.
    #[must_use]
    pub fn on_host(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container_id).filter(|offset| *offset < self.length)?;
        self.host_id.checked_add(offset)
    }
}
