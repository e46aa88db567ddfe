//! PAX extended headers (POSIX.1-2001): `length keyword=value\n`.

use super::error::TarError;
use super::sparse;
use std::collections::BTreeMap;

/// The records that mean something here.
#[derive(Debug, Default, Clone)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// By name: of several with the same, the last counts.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: Option<sparse::Records>,
    /// How many there were, of any meaning.
    pub count: u64,
}

impl Pax {
    pub(super) fn parse(mut records: &[u8]) -> Result<Self, TarError> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or(TarError::Pax)?;
            records = rest;
            pax.count += 1;
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        // An empty value takes the record of a global header back; those are not honoured.
        if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value).ok_or(TarError::Number("mtime"))?),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().take(key, value)?;
                } else if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.")
                    && !attribute.is_empty()
                {
                    self.xattrs.insert(name(attribute)?, value.to_vec());
                }
            }
        }
        Ok(())
    }
}

/// Key, value and what follows.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&records[..blank]).ok()?).ok()?;
    let record = records.get(..length)?;
    let body = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&body[..equals], &body[equals + 1..], &records[length..]))
}

pub(super) fn name(value: &[u8]) -> Result<Vec<u8>, TarError> {
    if value.contains(&0) { Err(TarError::Pax) } else { Ok(value.to_vec()) }
}

pub(super) fn decimal(value: &[u8]) -> Result<u64, TarError> {
    if value.is_empty() || value.len() > 20 {
        return Err(TarError::Pax);
    }
    value.iter().try_fold(0u64, |total, digit| {
        if !digit.is_ascii_digit() {
            return Err(TarError::Pax);
        }
        total
            .checked_mul(10)
            .and_then(|total| total.checked_add(u64::from(digit - b'0')))
            .ok_or(TarError::Pax)
    })
}

/// Seconds with an optional fraction; negative ones are before 1970.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut nanoseconds = 0u32;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(9) {
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let pax = Pax::parse(b"12 path=a/b\n11 size=42\n27 SCHILY.xattr.user.x=\0\xff\n\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.size, Some(42));
        assert_eq!(pax.xattrs.into_iter().collect::<Vec<_>>(), [(b"user.x".to_vec(), b"\0\xff\n".to_vec())]);
        assert_eq!(pax.count, 3);
        for bad in [
            &b"12 path=a/b"[..],
            b"13 path=a/b\n",
            b"0 path=a\n",
            b"99999999999999999999 a=b\n",
            b"x path=a\n",
            b"5 a=b",
            b"12path=a/bb\n",
            b"6 =ab\n",
            b"12 size=-12\n",
            b"11 path=a\0\n",
            b"13 mtime=1-2\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("", None),
            (".5", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }
}
