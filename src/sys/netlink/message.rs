//! Encoding of netlink messages and their attributes, and reading them back.

/// Bytes of a `nlmsghdr`.
pub(crate) const HEADER: usize = 16;
const ATTR_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Writes the body of one message: its fixed header, then attributes.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
}

impl Writer {
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }

    /// Appends raw bytes, such as a fixed header.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    fn pad(&mut self) {
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
    }

    /// An attribute with these bytes; longer than 65531 bytes it is cut, which no caller reaches.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX) - ATTR_HEADER)];
        self.raw(&length(value.len() + ATTR_HEADER).to_ne_bytes());
        self.raw(&kind.to_ne_bytes());
        self.raw(value);
        self.pad();
    }

    /// An attribute with a number in the host's byte order (rtnetlink).
    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// An attribute with a number in network byte order (nfnetlink).
    pub fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// An attribute with a terminated string.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// An attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.nest_plain(kind | NESTED, body);
    }

    /// As [`Self::nest`], without the flag that old parts of rtnetlink do not expect.
    pub fn nest_plain(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.buf.len();
        self.raw(&[0, 0]);
        self.raw(&kind.to_ne_bytes());
        body(self);
        let size = length(self.buf.len() - start).to_ne_bytes();
        self.buf[start..start + 2].copy_from_slice(&size);
        self.pad();
    }

    /// A whole message: header, body, and the length filled in. The sequence number is set when it is sent.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Self)) {
        let start = self.buf.len();
        self.raw(&0u32.to_ne_bytes());
        self.raw(&kind.to_ne_bytes());
        self.raw(&flags.to_ne_bytes());
        self.raw(&[0; 8]);
        body(self);
        let size = u32::try_from(self.buf.len() - start).unwrap_or(u32::MAX).to_ne_bytes();
        self.buf[start..start + 4].copy_from_slice(&size);
        self.pad();
    }
}

fn length(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// The attributes of a buffer: types without their flags, and values. Stops at the first malformed one.
pub fn attrs(buf: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = buf;
    std::iter::from_fn(move || {
        let size = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = rest.get(ATTR_HEADER..size)?;
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn attr(buf: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(buf).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number in the host's byte order.
pub fn read_u32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A number in network byte order.
pub fn read_be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A string, up to its terminator.
pub fn read_str(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawMessage<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of a datagram; stops at the first malformed one.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = RawMessage<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let size = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = RawMessage {
            kind: u16::from_ne_bytes(*rest.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*rest.get(6..)?.first_chunk()?),
            seq: u32::from_ne_bytes(*rest.get(8..)?.first_chunk()?),
            body: rest.get(HEADER..size)?,
        };
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut writer = Writer::default();
        writer.message(7, 5, |w| {
            w.raw(&[1, 2, 3, 4]);
            w.attr_str(3, "eth0");
            w.nest(4, |w| {
                w.attr_u32(1, 42);
                w.attr(2, &[9]);
            });
        });
        let all: Vec<_> = messages(writer.bytes()).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags), (7, 5));
        let body = &all[0].body[4..];
        assert_eq!(read_str(attr(body, 3).unwrap()), "eth0");
        let nested = attr(body, 4).unwrap();
        assert_eq!(read_u32(attr(nested, 1).unwrap()), Some(42));
        assert_eq!(attr(nested, 2), Some(&[9][..]));
        assert_eq!(attr(nested, 3), None);
    }

    #[test]
    fn no_bytes_make_the_readers_panic() {
        for len in 0..64usize {
            for fill in [0u8, 1, 3, 7, 17, 255] {
                let bytes = vec![fill; len];
                assert!(attrs(&bytes).count() <= len);
                assert!(messages(&bytes).take(100).count() <= len);
            }
        }
    }
}
