//! What one layer may become, and what it may cost on the way.
//!
//! A few compressed bytes can ask for much: each of these bounds is in proportion to them, so that a layer takes a time
//! in proportion to what had to be sent for it, and far above what an archive of any builder needs.

/// Entries, and directories that are made for them, that any layer may have; and how many compressed bytes there have
/// to be for each one more. The names and the checksums of entries alone take more.
const ENTRIES: u64 = 1 << 15;
const BYTES_AN_ENTRY: u64 = 4;
/// Directories that are looked up on the ways to entries: one takes a tenth of a microsecond.
const STEPS: u64 = 1 << 21;
const STEPS_A_BYTE: u64 = 8;
/// Records of PAX headers.
const RECORDS: u64 = 1 << 16;
/// Extended attributes: one takes three microseconds.
const XATTRS: u64 = 1 << 15;
const BYTES_AN_XATTR: u64 = 8;

/// Limits on one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Uncompressed.
    pub bytes: u64,
    /// Entries and the directories that have to be made for them.
    pub entries: u64,
    pub steps: u64,
    pub records: u64,
    pub xattrs: u64,
}

impl Limits {
    /// For a layer of so many compressed bytes; the settings hold in any case.
    pub(crate) fn new(size: u64, bytes: u64, entries: u64) -> Self {
        Self {
            bytes,
            entries: entries.min(ENTRIES.saturating_add(size / BYTES_AN_ENTRY)),
            steps: STEPS.saturating_add(size.saturating_mul(STEPS_A_BYTE)),
            records: RECORDS.saturating_add(size),
            xattrs: XATTRS.saturating_add(size / BYTES_AN_XATTR),
        }
    }

    /// For what has been unpacked once.
    pub(crate) fn none() -> Self {
        Self { bytes: u64::MAX, entries: u64::MAX, steps: u64::MAX, records: u64::MAX, xattrs: u64::MAX }
    }
}
