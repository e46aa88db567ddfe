//! Lists in several messages, for clients whose limit on one message is less than the list.

use super::wire::CHUNK_BYTES;
use prost::Message;

/// Cuts a list; no part is empty, and an item that is too big by itself is alone.
pub(crate) fn chunks<T: Message>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for item in items {
        // The tag and the length that stand before the item in the list take 6 bytes at most.
        let size = item.encoded_len() + 6;
        if !chunk.is_empty() && bytes + size > CHUNK_BYTES {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push(item);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::PodIp;

    #[test]
    fn every_item_once_in_order_and_within_the_limit() {
        let items: Vec<PodIp> = (0..5000).map(|n| PodIp { ip: format!("{n:01000}") }).collect();
        let parts = chunks(items.clone());
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| !part.is_empty()));
        for part in &parts {
            let bytes: usize = part.iter().map(|item| item.encoded_len() + 6).sum();
            assert!(bytes <= CHUNK_BYTES);
        }
        assert_eq!(parts.concat(), items);
        assert!(chunks(Vec::<PodIp>::new()).is_empty());
    }

    #[test]
    fn a_giant_is_alone() {
        let item = |size| PodIp { ip: "x".repeat(size) };
        let parts = chunks(vec![item(1), item(CHUNK_BYTES * 2), item(1)]);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
