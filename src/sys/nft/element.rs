//! The elements of sets and maps: keys, what they lead to, and a comment that says whose they are.

use super::expr::Verdict;
use super::{DATA_VALUE, DATA_VERDICT, Family, GET_ELEMENT, HEADER, LIST_ITEM, NEW_ELEMENT, VERDICT_CHAIN};
use crate::SysResult;
use crate::netlink::{ACK, Batch, DUMP, Socket, Writer, attr, attrs, ip_bytes, read_str};
use std::net::IpAddr;

pub(super) const LIST_TABLE: u16 = 1;
pub(super) const LIST_SET: u16 = 2;
pub(super) const LIST_ELEMENTS: u16 = 3;
pub(super) const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_USERDATA: u16 = 6;
/// The kind of a comment in user data, which is a list of kind, length, value, with a byte each for the
/// first two. `nft` shows it.
const COMMENT: u8 = 0;
/// `nft` refuses longer ones.
const COMMENT_MAX: usize = 127;
/// Each answer takes up to 8 KiB of the socket's buffer, which has some 200.
const QUESTIONS_AT_ONCE: usize = 12;

/// Builds keys and values: each part starts at a multiple of 4 bytes, as registers do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KeyBytes(Vec<u8>);

impl KeyBytes {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an address.
    #[must_use]
    pub fn ip(self, ip: IpAddr) -> Self {
        self.bytes(&ip_bytes(ip))
    }

    /// Appends a port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.bytes(&port.to_be_bytes())
    }

    /// Appends the number of a transport protocol.
    #[must_use]
    pub fn transport(self, protocol: u8) -> Self {
        self.bytes(&[protocol])
    }

    /// Appends the name of an interface.
    #[must_use]
    pub fn interface(self, name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        self.bytes(&bytes)
    }

    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The bytes.
    pub fn build(self) -> Vec<u8> {
        self.0
    }
}

/// What a key of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A value.
    Value(Vec<u8>),
    /// On to a chain.
    Goto(String),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Key.
    pub key: Vec<u8>,
    /// `None` in a set.
    pub data: Option<Data>,
    /// Up to 127 bytes; longer ones are cut.
    pub comment: String,
}

impl Element {
    pub(super) fn write(&self, w: &mut Writer) {
        w.nest(LIST_ITEM, |w| {
            w.nest(ELEMENT_KEY, |w| w.attr(DATA_VALUE, &self.key));
            match &self.data {
                None => {}
                Some(Data::Value(value)) => w.nest(ELEMENT_DATA, |w| w.attr(DATA_VALUE, value)),
                Some(Data::Goto(chain)) => w.nest(ELEMENT_DATA, |w| {
                    w.nest(DATA_VERDICT, |w| Verdict::Goto(chain.clone()).write(w));
                }),
            }
            w.attr(ELEMENT_USERDATA, &comment(&self.comment));
        });
    }

    fn read(body: &[u8]) -> Option<Self> {
        let data = attr(body, ELEMENT_DATA).and_then(|data| {
            let verdict = attr(data, DATA_VERDICT).and_then(|verdict| attr(verdict, VERDICT_CHAIN));
            let value = attr(data, DATA_VALUE).map(|value| Data::Value(value.to_vec()));
            verdict.map(|chain| Data::Goto(read_str(chain))).or(value)
        });
        Some(Self {
            key: attr(attr(body, ELEMENT_KEY)?, DATA_VALUE)?.to_vec(),
            data,
            comment: attr(body, ELEMENT_USERDATA).and_then(read_comment).unwrap_or_default(),
        })
    }
}

/// User data with a comment.
fn comment(text: &str) -> Vec<u8> {
    let mut text = text.as_bytes();
    text = &text[..text.len().min(COMMENT_MAX)];
    let mut data = vec![COMMENT, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    data.extend_from_slice(text);
    data.push(0);
    data
}

fn read_comment(mut data: &[u8]) -> Option<String> {
    loop {
        let (kind, len) = (*data.first()?, usize::from(*data.get(1)?));
        let value = data.get(2..2 + len)?;
        if kind == COMMENT {
            return Some(read_str(value));
        }
        data = data.get(2 + len..)?;
    }
}

/// The elements of a set or map.
///
/// # Errors
/// `ENOENT` when the table or the set does not exist.
pub fn elements(socket: &Socket, family: Family, table: &str, set: &str) -> SysResult<Vec<Element>> {
    let mut batch = Batch::new();
    batch.message(("list nft elements", set), GET_ELEMENT, DUMP, |w| {
        super::header(w, family.number(), 0);
        w.attr_str(LIST_TABLE, table);
        w.attr_str(LIST_SET, set);
    });
    let replies = socket.run(&mut batch)?;
    let bodies =
        replies.iter().filter(|reply| reply.kind == NEW_ELEMENT).filter_map(|r| r.body.get(HEADER..));
    let lists = bodies.filter_map(|body| attr(body, LIST_ELEMENTS));
    Ok(lists.flat_map(attrs).filter_map(|(_, element)| Element::read(element)).collect())
}

/// The elements that have these keys, each in its set; a key that is not there, or whose set or table is
/// not, is left out. It costs the same however many elements there are.
///
/// # Errors
/// When the kernel refuses the question.
pub fn find<'a>(
    socket: &Socket,
    family: Family,
    table: &str,
    keys: &[(&'a str, Vec<u8>)],
) -> SysResult<Vec<(&'a str, Element)>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(QUESTIONS_AT_ONCE) {
        let mut batch = Batch::new();
        for (set, key) in keys {
            batch
                .message(("find nft element", set), GET_ELEMENT, ACK, |w| {
                    super::header(w, family.number(), 0);
                    w.attr_str(LIST_TABLE, table);
                    w.attr_str(LIST_SET, set);
                    w.nest(LIST_ELEMENTS, |w| {
                        w.nest(LIST_ITEM, |w| w.nest(ELEMENT_KEY, |w| w.attr(DATA_VALUE, key)));
                    });
                })
                .tolerate(libc::ENOENT);
        }
        let replies = socket.run(&mut batch)?;
        let answers = replies.iter().filter(|reply| reply.kind == NEW_ELEMENT);
        found.extend(answers.filter_map(|reply| {
            let (set, _) = keys.get(reply.request)?;
            let (_, element) = attrs(attr(reply.body.get(HEADER..)?, LIST_ELEMENTS)?).next()?;
            Some((*set, Element::read(element)?))
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_read_back_and_are_cut() {
        assert_eq!(read_comment(&comment("net a")).as_deref(), Some("net a"));
        assert_eq!(read_comment(&comment(&"x".repeat(500))), Some("x".repeat(127)));
        assert_eq!(read_comment(&[9, 1, 7, 0, 2, b'a', 0]).as_deref(), Some("a"));
        assert_eq!(read_comment(&[9, 200]), None);
        assert_eq!(read_comment(&[]), None);
    }
}
