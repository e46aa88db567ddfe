//! Entry points for the fuzz targets of `e2e/fuzz`; compiled for them only.

use crate::record::{self, ContainerRecord, PodRanges, PodRecord, Record};

/// What is kept: what can be read is of this version, and is written so that it reads the same.
///
/// # Panics
/// When it is not.
pub fn record(bytes: &[u8]) {
    again::<PodRecord>(bytes);
    again::<ContainerRecord>(bytes);
    again::<PodRanges>(bytes);
}

fn again<T: Record>(bytes: &[u8]) {
    let version = record::version(bytes);
    let Ok(read) = record::decode::<T>(bytes) else { return };
    assert_eq!(version, Some(record::VERSION));
    let written = record::encode("the record", &read).map(|written| {
        let read =
            record::decode::<T>(&written).ok().and_then(|read| record::encode("the record", &read).ok());
        (read.as_ref() == Some(&written), written.starts_with(&record::first_line(T::KIND)))
    });
    assert_eq!(written.ok(), Some((true, true)));
}
