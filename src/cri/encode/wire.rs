//! Messages that are written as they are told, without one of the interface's in between: lists of usage have thousands of
//! them, asked for every few seconds. A test holds the bytes to those of the messages.

use prost::encoding::{
    WireType, btree_map, double, encode_key, encode_varint, encoded_len_varint, int32, int64, string, uint64,
};
use std::collections::BTreeMap;

/// The number of the one field of an answer: what it is about, or the list.
pub(crate) const ITEMS: u32 = 1;

/// What one message of a stream carries at most, in encoded bytes: gRPC's customary limit is 4 MiB.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// The most bytes of a length.
const LENGTH: usize = 10;

/// The bytes so far. As in proto3, what has its type's default is left out.
#[derive(Debug, Default)]
pub(crate) struct Wire(Vec<u8>);

impl Wire {
    /// A message, which is there even if nothing is in it.
    pub(crate) fn message(&mut self, number: u32, fill: impl FnOnce(&mut Self)) {
        // Most often the length fits into one byte.
        self.message_of(0, number, fill);
    }

    /// The same of some length: where its own takes as many bytes, nothing is moved.
    pub(crate) fn message_of(&mut self, about: usize, number: u32, fill: impl FnOnce(&mut Self)) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        let (place, room) = (self.0.len(), encoded_len_varint(about as u64));
        self.0.resize(place + room, 0);
        fill(self);
        let length = self.0.len().saturating_sub(place + room);
        let size = encoded_len_varint(length as u64);
        if size != room {
            self.make_room(place, room, size);
        }
        let mut written = [0; LENGTH];
        encode_varint(length as u64, &mut written.as_mut_slice());
        for (byte, of_length) in self.0.iter_mut().skip(place).zip(written.iter().take(size)) {
            *byte = *of_length;
        }
    }

    /// Moves what is behind a length that takes another number of bytes than there was room for.
    fn make_room(&mut self, place: usize, room: usize, size: usize) {
        let (filled, behind) = (place + room, self.0.len());
        self.0.resize(behind + size.saturating_sub(room), 0);
        self.0.copy_within(filled..behind, place + size);
        self.0.truncate(behind + size - room);
    }

    /// A number that is a message of its own.
    pub(crate) fn value(&mut self, number: u32, value: u64) {
        self.message(number, |to| to.uint64(1, value));
    }

    pub(crate) fn string(&mut self, number: u32, value: &str) {
        if !value.is_empty() {
            self.text(number, value);
        }
    }

    /// An item of a list of strings, which may be empty.
    pub(crate) fn text(&mut self, number: u32, value: &str) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn int64(&mut self, number: u32, value: i64) {
        if value != 0 {
            int64::encode(number, &value, &mut self.0);
        }
    }

    pub(crate) fn int32(&mut self, number: u32, value: i32) {
        if value != 0 {
            int32::encode(number, &value, &mut self.0);
        }
    }

    pub(crate) fn uint64(&mut self, number: u32, value: u64) {
        if value != 0 {
            uint64::encode(number, &value, &mut self.0);
        }
    }

    pub(crate) fn double(&mut self, number: u32, value: f64) {
        if value != 0.0 {
            double::encode(number, &value, &mut self.0);
        }
    }

    pub(crate) fn map(&mut self, number: u32, map: &BTreeMap<String, String>) {
        btree_map::encode(
            string::encode,
            string::encoded_len,
            string::encode,
            string::encoded_len,
            number,
            map,
            &mut self.0,
        );
    }

    /// Fields that are encoded already.
    pub(crate) fn encoded(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Encoded items of a list, in parts of bounded size: no part is empty, and an item that is too big by itself is alone.
#[derive(Debug, Default)]
pub(crate) struct Items(Vec<Wire>);

impl Items {
    /// The next item.
    pub(crate) fn add(&mut self, item: impl FnOnce(&mut Wire)) {
        if self.0.is_empty() {
            self.0.push(Wire::default());
        }
        let Some(part) = self.0.last_mut() else { return };
        let begin = part.0.len();
        item(part);
        if begin > 0 && part.0.len() > CHUNK_BYTES {
            let mut next = Vec::with_capacity(CHUNK_BYTES);
            next.extend(part.0.drain(begin..));
            self.0.push(Wire(next));
        }
    }

    /// One list of several: its bytes, in order.
    pub(crate) fn join(all: Vec<Self>) -> Vec<Vec<u8>> {
        all.into_iter().flat_map(|items| items.0).map(Wire::into_bytes).collect()
    }

    /// The same list as bytes of several messages, of bounded size each.
    pub(crate) fn messages(all: Vec<Self>) -> Vec<Vec<Vec<u8>>> {
        let (mut messages, mut bytes): (Vec<Vec<_>>, _) = (Vec::new(), 0);
        for part in Self::join(all) {
            match messages.last_mut() {
                Some(message) if bytes + part.len() <= CHUNK_BYTES => {
                    bytes += part.len();
                    message.push(part);
                }
                _ => {
                    bytes = part.len();
                    messages.push(vec![part]);
                }
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_any_size_stands_before_what_it_counts() {
        for size in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let (mut wire, inside) = (Wire::default(), vec![5u8; size]);
            wire.uint64(1, 9);
            wire.message(7, |to| to.encoded(&inside));
            for about in [0, 127, 128, 20_000, 3_000_000] {
                wire.message_of(about, 7, |to| to.encoded(&inside));
            }
            wire.uint64(2, 9);
            let mut expected = Vec::new();
            uint64::encode(1, &9, &mut expected);
            (0..6).for_each(|_| prost::encoding::bytes::encode(7, &inside, &mut expected));
            uint64::encode(2, &9, &mut expected);
            assert!(wire.into_bytes() == expected, "{size}");
        }
    }
}
