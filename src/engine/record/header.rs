//! The first line of a record: what it is of, and the version of the state in which it was written.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The version of the state: of the records here, and of everything else that outlives the daemon.
pub(crate) const VERSION: u32 = 1;

/// Something that is kept.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What it is of, one word.
    const KIND: &'static str;
}

/// Why bytes are not the record that was looked for.
#[derive(Debug, Error)]
pub(crate) enum Unreadable {
    /// Whatever it is, this daemon did not write it.
    #[error("it does not begin as a record")]
    NoHeader,
    /// It is of something else.
    #[error("it is a record of a {0}")]
    Kind(String),
    /// It is of another version.
    #[error("it is of version {0} of the state, and this is {VERSION}")]
    Version(u32),
    /// The content is damaged.
    #[error(transparent)]
    Content(#[from] serde_json::Error),
}

/// A record as it is kept.
pub(crate) fn encode<T: Record>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = first_line(T::KIND);
    serde_json::to_writer(&mut bytes, record)?;
    Ok(bytes)
}

/// A record as it was kept.
pub(crate) fn decode<T: Record>(bytes: &[u8]) -> Result<T, Unreadable> {
    let (kind, version, content) = split(bytes).ok_or(Unreadable::NoHeader)?;
    if kind != T::KIND {
        return Err(Unreadable::Kind(kind.to_owned()));
    }
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    Ok(serde_json::from_slice(content)?)
}

/// The line in front of a record of the kind.
pub(crate) fn first_line(kind: &str) -> Vec<u8> {
    format!("corten {kind} {VERSION}\n").into_bytes()
}

/// The version of what begins with these bytes; `None` when they do not begin as a record.
pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
    if bytes.first() == Some(&b'{') {
        // Builds before the first release wrote records without a header.
        return Some(0);
    }
    split(bytes).map(|(_, version, _)| version)
}

/// Kind, version and content.
fn split(bytes: &[u8]) -> Option<(&str, u32, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, content) = bytes.split_at_checked(end)?;
    let mut words = std::str::from_utf8(line).ok()?.strip_prefix("corten ")?.split(' ');
    let (kind, version) = (words.next()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((kind, version, content))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing(String);

    impl Record for Thing {
        const KIND: &'static str = "thing";
    }

    #[test]
    fn a_record_is_read_as_what_it_is_or_not_at_all() {
        let bytes = encode(&Thing("a\nb".to_owned())).unwrap();
        assert_eq!(bytes, b"corten thing 1\n\"a\\nb\"");
        assert_eq!(decode::<Thing>(&bytes).unwrap(), Thing("a\nb".to_owned()));
        let refused = |bytes: &[u8]| decode::<Thing>(bytes).unwrap_err().to_string();
        for damaged in
            [&b""[..], b"corten", b"corten thing 1", b"thing 1\n\"a\"", b"corten thing 1 2\n\"a\"", b"\xff\n"]
        {
            assert_eq!(refused(damaged), "it does not begin as a record");
            assert_eq!(version(damaged), None);
        }
        assert_eq!(refused(b"corten pod 1\n\"a\""), "it is a record of a pod");
        assert_eq!(refused(b"corten thing 2\n\"a\""), "it is of version 2 of the state, and this is 1");
        assert!(matches!(decode::<Thing>(b"corten thing 1\n\"a"), Err(Unreadable::Content(_))));
    }

    #[test]
    fn the_version_is_told_of_whatever_follows() {
        assert_eq!(version(b"corten pod 7\n\0\xff"), Some(7));
        assert_eq!(version(b"{\"version\":1}"), Some(0));
        assert_eq!(version(&first_line("pod")), Some(VERSION));
    }
}
