//! The encoding of values: little-endian numbers, byte strings and lists with a 32-bit count, structures with
//! their length in front. Decoding checks every bound and never panics, whatever the bytes.

use std::fmt;

#[cfg(test)]
use crate::witness;

/// Tests watch which fields and variants are written; nobody else does.
#[cfg(not(test))]
mod witness {
    pub(super) fn field(_structure: &str, _field: &str, _bytes: &[u8]) {}
    pub(super) fn newer(_structure: &str, _field: &str, _used: bool) {}
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a value.
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// A tag, boolean or string that no version of the protocol writes.
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// A variant that this version does not know: a newer one's.
    Unknown {
        /// The enumeration.
        what: &'static str,
        /// The variant's number.
        tag: u8,
    },
    /// A frame longer than the reader accepts.
    TooLong {
        /// The length that the frame claims.
        length: usize,
        /// The longest one accepted.
        limit: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what } => write!(f, "message ends inside {what}"),
            Self::Malformed { what } => write!(f, "message holds a malformed {what}"),
            Self::Unknown { what, tag } => {
                write!(f, "message holds a {what} of number {tag}, which is not known here")
            }
            Self::TooLong { length, limit } => {
                write!(f, "frame of {length} bytes exceeds the limit of {limit}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// The unread part of a message.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated { what })?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
        self.rest = tail;
        Ok(*head)
    }

    pub(crate) fn tag(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn count(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let count = u32::from_le_bytes(self.array(what)?);
        usize::try_from(count).map_err(|_| DecodeError::Malformed { what })
    }

    /// The bytes of one structure; what the caller leaves unread belongs to a newer version.
    pub(crate) fn structure(&mut self, what: &'static str) -> Result<Reader<'a>, DecodeError> {
        let length = self.count(what)?;
        Ok(Reader::new(self.take(length, what)?))
    }

    /// A field that its writer leaves out where nothing is to be said.
    pub(crate) fn newer<T: Codec + Default>(&mut self) -> Result<T, DecodeError> {
        if self.rest.is_empty() { Ok(T::default()) } else { T::get(self) }
    }
}

/// A value with an encoding.
pub(crate) trait Codec: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Writes a count of elements or bytes. A message of 4 GiB cannot be built: frames are refused long before.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Writes a structure behind its own length.
pub(crate) fn put_structure(out: &mut Vec<u8>, name: &'static str, put: impl FnOnce(&mut Fields<'_>)) {
    let start = out.len();
    put_count(out, 0);
    let kept = out.len();
    let mut fields = Fields { name, out, kept };
    put(&mut fields);
    let kept = fields.kept;
    out.truncate(kept);
    let length = u32::try_from(kept - start - 4).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&length.to_le_bytes());
    }
}

/// The fields of a structure that is being written.
pub(crate) struct Fields<'a> {
    name: &'static str,
    out: &'a mut Vec<u8>,
    /// Where the last field ends that says something.
    kept: usize,
}

impl Fields<'_> {
    /// A field that every version has.
    pub(crate) fn put(&mut self, field: &'static str, value: &impl Codec) {
        let at = self.out.len();
        value.put(self.out);
        self.kept = self.out.len();
        witness::field(self.name, field, self.out.get(at..).unwrap_or_default());
    }

    /// A field that not every version has: without anything to say it is left out, with all behind it.
    pub(crate) fn put_newer<T: Codec + Default + PartialEq>(&mut self, field: &'static str, value: &T) {
        let at = self.out.len();
        value.put(self.out);
        let used = *value != T::default();
        if used {
            self.kept = self.out.len();
        }
        witness::field(self.name, field, self.out.get(at..).unwrap_or_default());
        witness::newer(self.name, field, used);
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(reader.array(stringify!($type))?))
            }
        }
    )*};
}
numbers!(i32, u32, i64, u64);

impl Codec for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.tag("boolean")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed { what: "boolean" }),
        }
    }
}

impl Codec for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        out.extend_from_slice(self);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.count("bytes")?;
        Ok(reader.take(length, "bytes")?.to_vec())
    }
}

impl Codec for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        out.extend_from_slice(self.as_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_utf8(Vec::get(reader)?).map_err(|_| DecodeError::Malformed { what: "string" })
    }
}

/// Bytes are encoded whole, above; `u8` itself has no encoding, so the two never overlap.
impl<T: Codec> Codec for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        for item in self {
            item.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count("list")?;
        // Every element takes a byte at least: a count beyond the rest is a lie, told to make us allocate.
        if count > reader.rest.len() {
            return Err(DecodeError::Truncated { what: "list" });
        }
        (0..count).map(|_| T::get(reader)).collect()
    }
}

impl<T: Codec> Codec for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        bool::get(reader)?.then(|| T::get(reader)).transpose()
    }
}

impl<A: Codec, B: Codec> Codec for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::get(reader)?, B::get(reader)?))
    }
}

impl<A: Codec, B: Codec, C: Codec> Codec for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::get(reader)?, B::get(reader)?, C::get(reader)?))
    }
}

#[cfg(test)]
mod tests;
