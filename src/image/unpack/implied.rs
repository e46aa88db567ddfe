//! Directories that a layer holds without an entry for them, and lists of paths in little room.

use super::error::UnpackError;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The most of them, with those on the way to them, and the most bytes of their names: what is kept of one layer in
/// memory stays below 48 MiB, and no layer that somebody built comes near.
const MOST: u64 = 1 << 18;
const MOST_BYTES: u64 = 16 << 20;
/// The length of a number in front of a key.
const NUMBER: usize = 4;

/// A tree of names: a child's key is its parent's number and its name, so that children follow each other in order
/// and no path is ever kept whole.
#[derive(Default)]
pub(super) struct Implied {
    nodes: BTreeMap<Box<[u8]>, Node>,
    last: u32,
    bytes: u64,
    marked: u64,
    /// Whether the layer's own directory has no entry.
    pub root: bool,
}

#[derive(Clone, Copy)]
struct Node {
    number: u32,
    implied: bool,
}

fn key(parent: u32, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(NUMBER + name.len());
    key.extend_from_slice(&parent.to_be_bytes());
    key.extend_from_slice(name);
    key
}

impl Implied {
    /// None but the root, which has no entry yet.
    pub(super) fn new() -> Self {
        Self { root: true, ..Self::default() }
    }

    /// How many there are, without the root.
    pub(super) fn len(&self) -> u64 {
        self.marked
    }

    /// Notes a directory below the one with this number (0 is the root); its own number.
    pub(super) fn add(&mut self, parent: u32, name: &[u8], implied: bool) -> Result<u32, UnpackError> {
        let key = key(parent, name);
        if let Some(node) = self.nodes.get_mut(&*key) {
            self.marked += u64::from(implied && !node.implied);
            node.implied |= implied;
            return Ok(node.number);
        }
        self.bytes += name.len() as u64;
        if self.nodes.len() as u64 >= MOST || self.bytes > MOST_BYTES {
            let what = "directories without entries of their own";
            return Err(UnpackError::Limit { what, limit: MOST });
        }
        self.last += 1;
        self.marked += u64::from(implied);
        self.nodes.insert(key.into_boxed_slice(), Node { number: self.last, implied });
        Ok(self.last)
    }

    /// The number of a path that was noted, itself or for something below it.
    pub(super) fn find(&self, path: &[u8]) -> Option<u32> {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(0, |parent, name| self.child(parent, name))
    }

    /// The number of what was noted below the one with this number.
    pub(super) fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        Some(self.nodes.get(&*key(parent, name))?.number)
    }

    /// The directory has an entry after all.
    pub(super) fn described(&mut self, parent: u32, name: &[u8]) {
        if let Some(node) = self.nodes.get_mut(&*key(parent, name)) {
            self.marked -= u64::from(node.implied);
            node.implied = false;
        }
    }

    /// The directory is gone, with everything in it.
    pub(super) fn forget(&mut self, parent: u32, name: &[u8]) {
        let mut gone = vec![key(parent, name).into_boxed_slice()];
        while let Some(key) = gone.pop() {
            let Some(node) = self.nodes.remove(&key) else { continue };
            self.bytes -= (key.len() - NUMBER) as u64;
            self.marked -= u64::from(node.implied);
            let children = node.number.to_be_bytes();
            let below = self.nodes.range::<[u8], _>((Bound::Included(&children[..]), Bound::Unbounded));
            gone.extend(below.map(|(key, _)| key).take_while(|key| key.starts_with(&children)).cloned());
        }
    }

    /// Every path, each directory before what is in it.
    pub(super) fn paths(&self) -> Paths {
        let mut paths = Paths::default();
        if self.root {
            paths.push(b"");
        }
        // The children of the last of these come next, behind the name that was seen last.
        let mut above: Vec<(u32, Vec<u8>)> = vec![(0, key(0, b""))];
        let mut path = Vec::new();
        while let Some((parent, seen)) = above.last_mut() {
            let children = parent.to_be_bytes();
            let after = (Bound::Excluded(&seen[..]), Bound::Unbounded);
            let next = self.nodes.range::<[u8], _>(after).next();
            match next.filter(|(key, _)| key.starts_with(&children)) {
                Some((key, node)) => {
                    seen.clear();
                    seen.extend_from_slice(key);
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(&key[NUMBER..]);
                    if node.implied {
                        paths.push(&path);
                    }
                    let number = node.number;
                    above.push((number, number.to_be_bytes().to_vec()));
                }
                None => {
                    above.pop();
                    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    path.truncate(end);
                }
            }
        }
        paths
    }
}

/// Paths in order, each directory before what is in it, each written as what it does not share with the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// `shared(u16) length(u16) bytes…`, little-endian.
    encoded: Vec<u8>,
    last: Vec<u8>,
}

impl Paths {
    /// Adds a path, which comes after those that are there.
    pub(crate) fn push(&mut self, path: &[u8]) {
        let shared = self.last.iter().zip(path).take_while(|(one, other)| one == other).count();
        let own = path.get(shared..).unwrap_or_default();
        // Paths have at most 4095 bytes.
        let (Ok(start), Ok(length)) = (u16::try_from(shared), u16::try_from(own.len())) else { return };
        self.encoded.extend_from_slice(&start.to_le_bytes());
        self.encoded.extend_from_slice(&length.to_le_bytes());
        self.encoded.extend_from_slice(own);
        self.last.truncate(shared);
        self.last.extend_from_slice(own);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// As they are written.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Of what was written.
    pub(crate) fn decode(encoded: Vec<u8>) -> Self {
        Self { encoded, last: Vec::new() }
    }

    /// Reads them from the first on.
    pub(crate) fn read(&self) -> Reading<'_> {
        Reading { rest: &self.encoded, path: Vec::new() }
    }

    /// As text, where they take no more than so many bytes and are text.
    pub(crate) fn texts(&self, most: usize) -> Option<Vec<String>> {
        let (mut texts, mut bytes, mut reading) = (Vec::new(), 0, self.read());
        while let Some(path) = reading.next() {
            bytes += path.len();
            if bytes > most {
                return None;
            }
            texts.push(String::from_utf8(path.to_vec()).ok()?);
        }
        Some(texts)
    }

    /// Of texts in any order.
    pub(crate) fn of(texts: &[String]) -> Self {
        let mut sorted: Vec<&str> = texts.iter().map(String::as_str).collect();
        sorted.sort_by(|one, other| order(one.as_bytes(), other.as_bytes()));
        let mut paths = Self::default();
        sorted.iter().for_each(|path| paths.push(path.as_bytes()));
        paths
    }
}

/// The order in which each directory comes right before what is in it: a slash counts less than any other byte.
pub(crate) fn order(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    let shared = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let rank = |path: &[u8]| path.get(shared).map(|byte| (*byte != b'/', *byte));
    rank(one).cmp(&rank(other))
}

/// Gives one path after the other.
pub(crate) struct Reading<'a> {
    rest: &'a [u8],
    path: Vec<u8>,
}

impl Reading<'_> {
    /// The next path; `None` at the end, or where what was written is damaged.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let (shared, rest) = self.rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let own = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        self.path.truncate(u16::from_le_bytes(*shared).into());
        self.path.extend_from_slice(own);
        self.rest = rest.get(own.len()..)?;
        Some(&self.path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn add(implied: &mut Implied, path: &str) {
        let names: Vec<&str> = path.split('/').collect();
        let mut parent = 0;
        for (at, name) in names.iter().enumerate() {
            parent = implied.add(parent, name.as_bytes(), at + 1 == names.len()).unwrap();
        }
    }

    fn texts(implied: &Implied) -> Vec<String> {
        implied.paths().texts(usize::MAX).unwrap()
    }

    #[test]
    fn paths_come_in_order_and_go_with_what_is_above() {
        let mut implied = Implied::new();
        for path in ["b/x", "a.b", "a/c", "a", "a/c/d", "b", "a b"] {
            add(&mut implied, path);
        }
        let expected = ["", "a", "a/c", "a/c/d", "a b", "a.b", "b", "b/x"];
        assert_eq!(texts(&implied), expected);
        assert_eq!(implied.len(), 7);
        let shuffled: Vec<String> = expected.iter().rev().map(ToString::to_string).collect();
        assert_eq!(Paths::of(&shuffled).encoded(), implied.paths().encoded());
        implied.described(0, b"a");
        implied.described(0, b"nothing");
        assert_eq!(texts(&implied), ["", "a/c", "a/c/d", "a b", "a.b", "b", "b/x"]);
        implied.forget(0, b"a");
        assert_eq!(texts(&implied), ["", "a b", "a.b", "b", "b/x"]);
        assert_eq!((implied.len(), implied.find(b"a/c"), implied.bytes), (4, None, 8));
        assert!(implied.find(b"b/x").is_some());
        assert!(Paths::decode(b"\0\0\x09\0short".to_vec()).read().next().is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut implied = Implied::default();
        let name = [b'n'; 250];
        let refused = (0..MOST).try_fold(0, |parent, _| implied.add(parent, &name, true)).unwrap_err();
        assert!(matches!(refused, UnpackError::Limit { limit: MOST, .. }), "{refused}");
        assert!(implied.nodes.len() as u64 <= MOST_BYTES / 250);
    }
}
