//! Sizes of a client's window: JSON objects one after the other, `{"Width":80,"Height":24}`.

use crate::inlet::Reader;
use serde::Deserialize;
use std::collections::VecDeque;

/// More than any size takes; a client that sends more without one is not listened to.
const MOST: usize = 1 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    #[serde(default)]
    width: u16,
    #[serde(default)]
    height: u16,
}

/// Puts sizes together from pieces.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pending: Vec<u8>,
}

impl Sizes {
    /// The sizes (columns, rows) that are complete with this piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<(u16, u16)> {
        self.pending.extend_from_slice(piece);
        let mut sizes = Vec::new();
        let mut stream = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Size>();
        let mut used = 0;
        let is_broken = loop {
            match stream.next() {
                Some(Ok(size)) => {
                    used = stream.byte_offset();
                    sizes.push((size.width, size.height));
                }
                Some(Err(error)) => break !error.is_eof(),
                None => {
                    used = self.pending.len();
                    break false;
                }
            }
        };
        self.pending.drain(..used);
        if is_broken || self.pending.len() > MOST {
            self.pending.clear();
        }
        sizes
    }
}

/// A client's window.
#[derive(Debug)]
pub(crate) struct Window {
    from: Reader,
    sizes: Sizes,
    told: VecDeque<(u16, u16)>,
}

impl Window {
    /// Whose sizes come from there.
    pub(crate) fn new(from: Reader) -> Self {
        Self { from, sizes: Sizes::default(), told: VecDeque::new() }
    }

    /// The next size (columns, rows) that is one.
    pub(crate) async fn next(&mut self) -> Option<(u16, u16)> {
        loop {
            if let Some(size) = self.told.pop_front() {
                return Some(size);
            }
            let piece = self.from.next().await?;
            let is_size = |(columns, rows): &(u16, u16)| *columns > 0 && *rows > 0;
            self.told.extend(self.sizes.push(&piece).into_iter().filter(is_size));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sizes;

    #[test]
    fn sizes_come_in_pieces_and_in_heaps() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(br#"{"Width":80,"#), []);
        assert_eq!(sizes.push(b"\"Height\":24}\n{\"Height\":1,\"Width\":2}{"), [(80, 24), (2, 1)]);
        assert_eq!(sizes.push(b"\"Width\":7}"), [(7, 0)]);
    }

    #[test]
    fn nonsense_is_thrown_away() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(b"what?"), []);
        assert_eq!(sizes.push(br#"{"Width":70000,"Height":1}"#), []);
        assert_eq!(sizes.push(&[b' '; 5000]), []);
        assert_eq!(sizes.push(br#"{"Width":1,"Height":2}"#), [(1, 2)]);
    }
}
