//! Whose an address is.

use crate::types::Invocation;

/// An attachment, as a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) container_id: String,
    /// Empty in the files that very old plugins wrote.
    pub(super) ifname: String,
}

impl Owner {
    pub(super) fn of(call: &Invocation) -> Self {
        Self { container_id: call.container_id.trim().to_owned(), ifname: call.ifname.clone() }
    }

    pub(super) fn write(&self) -> String {
        format!("{}\r\n{}", self.container_id, self.ifname)
    }

    pub(super) fn read(text: &str) -> Self {
        let (container_id, ifname) = text.trim().split_once("\r\n").unwrap_or((text.trim(), ""));
        Self { container_id: container_id.to_owned(), ifname: ifname.to_owned() }
    }

    /// Whether a file with this owner belongs to the attachment.
    pub(super) fn matches(&self, attachment: &Self) -> bool {
        self.container_id == attachment.container_id
            && (self.ifname.is_empty() || self.ifname == attachment.ifname)
    }
}
