//! Exit records as files: what the shim leaves for a daemon that was not there.

use crate::codec::{Codec, DecodeError, Reader};
pub use crate::msg::ExitRecord;

const MAGIC: [u8; 4] = *b"CXR1";

/// The content of an exit file.
pub fn encode(record: &ExitRecord) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    record.put(&mut out);
    out
}

/// Reads an exit file.
///
/// # Errors
/// The bytes are no exit record.
pub fn decode(bytes: &[u8]) -> Result<ExitRecord, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.array::<4>("exit record")? != MAGIC {
        return Err(DecodeError::Malformed { what: "exit record" });
    }
    ExitRecord::get(&mut reader)
}
