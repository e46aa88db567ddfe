//! One 512-byte header block (POSIX.1-1988 ustar, GNU and v7).

use super::error::TarError;

pub(super) const BLOCK: usize = 512;

/// The fields of a header block, numbers read, names cut at their zero byte.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub kind: u8,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: i64,
    pub major: u32,
    pub minor: u32,
}

impl Header {
    /// Reads a block that is not all zero.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, TarError> {
        check_sum(block)?;
        let kind = block[156];
        let posix = &block[257..263] == b"ustar\0";
        let mut path = text(&block[0..100]);
        if posix {
            let prefix = text(&block[345..500]);
            if !prefix.is_empty() {
                path = [prefix.as_slice(), b"/", path.as_slice()].concat();
            }
        }
        let device = matches!(kind, b'3' | b'4');
        Ok(Self {
            kind,
            path,
            link: text(&block[157..257]),
            mode: narrow(number(&block[100..108], "mode")? & 0o7777, "mode")?,
            uid: number(&block[108..116], "uid")?,
            gid: number(&block[116..124], "gid")?,
            size: number(&block[124..136], "size")?,
            mtime: signed(&block[136..148], "mtime")?,
            major: if device { narrow(number(&block[329..337], "device")?, "device")? } else { 0 },
            minor: if device { narrow(number(&block[337..345], "device")?, "device")? } else { 0 },
        })
    }
}

fn narrow(number: u64, field: &'static str) -> Result<u32, TarError> {
    u32::try_from(number).map_err(|_| TarError::Number(field))
}

fn text(field: &[u8]) -> Vec<u8> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    field[..end].to_vec()
}

/// The checksum counts its own field as blanks; old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), TarError> {
    let stored = number(&block[148..156], "checksum")?;
    let (mut unsigned, mut signed) = (0u64, 0i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if stored == unsigned || i64::try_from(stored) == Ok(signed) { Ok(()) } else { Err(TarError::Checksum) }
}

pub(super) fn number(field: &[u8], name: &'static str) -> Result<u64, TarError> {
    u64::try_from(signed(field, name)?).map_err(|_| TarError::Number(name))
}

/// Octal text, or GNU's base 256 when the first bit is set.
fn signed(field: &[u8], name: &'static str) -> Result<i64, TarError> {
    let bad = || TarError::Number(name);
    let first = *field.first().ok_or_else(bad)?;
    if first & 0x80 != 0 {
        // Bit 6 of the first byte is the sign: all the bytes above the lowest eight must repeat it.
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && !negative { byte & 0x7f } else { *byte };
            value = (value << 8) | i128::from(byte);
            if i64::try_from(value).is_err() {
                return Err(bad());
            }
        }
        return i64::try_from(value).map_err(|_| bad());
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let rest = &field[start..];
    let end = rest.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(rest.len());
    let mut value: i64 = 0;
    for digit in &rest[..end] {
        if !(b'0'..=b'7').contains(digit) {
            return Err(bad());
        }
        value = value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or_else(bad)?;
    }
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"12345670", Some(0o12_345_670)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"7777777777777777777777777", None),
        ] {
            assert_eq!(signed(field, "x").ok(), expected, "{field:?}");
        }
        assert!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff", "x").is_err());
    }
}
