//! What takes space.

use std::path::PathBuf;

/// Space that something takes on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsUsage {
    /// When it was counted, in Unix nanoseconds.
    pub timestamp: i64,
    /// A directory on the filesystem.
    pub mountpoint: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}
