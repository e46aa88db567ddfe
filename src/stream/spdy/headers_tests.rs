#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use flate2::{Compress, Compression, FlushCompress};

/// As clients do it: one compressor a connection, with the dictionary, flushed behind each block.
pub(crate) struct Deflater(Compress);

impl Deflater {
    pub(crate) fn new() -> Self {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&DICTIONARY).unwrap();
        Self(zlib)
    }

    pub(crate) fn raw(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() + 1024);
        self.0.compress_vec(block, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    pub(crate) fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let plain = plain(headers);
        self.raw(&plain)
    }
}

fn plain(headers: &[(&str, &str)]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let mut block = number(headers.len()).to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&number(text.len()));
        block.extend_from_slice(text.as_bytes());
    }
    block
}

#[test]
fn blocks_of_one_connection_inflate_however_they_are_cut() {
    for step in [1, 2, 7, 1000] {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for number in 0..50 {
            let number = number.to_string();
            let headers = [("streamtype", "data"), ("port", "80"), ("requestid", number.as_str())];
            inflater.begin();
            for piece in deflater.block(&headers).chunks(step) {
                inflater.feed(piece).unwrap();
            }
            assert_eq!(inflater.finish(), Ok(Headers::of(&headers)));
        }
    }
}

#[test]
fn a_large_block_costs_its_stream_and_no_memory() {
    let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
    let large = "x".repeat(200 << 10);
    inflater.begin();
    inflater.feed(&deflater.block(&[("streamtype", &large)])).unwrap();
    assert!(inflater.block.capacity() <= 2 * MAX_BLOCK);
    assert_eq!(inflater.finish(), Err(Reset::TooLarge));
    inflater.begin();
    inflater.feed(&deflater.block(&[("streamtype", "data")])).unwrap();
    assert_eq!(inflater.finish().unwrap().get("streamtype"), Some("data"));
}

#[test]
fn a_block_beyond_measure_costs_the_connection() {
    let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
    let huge = "x".repeat(MAX_INFLATED + 1);
    inflater.begin();
    assert_eq!(inflater.feed(&deflater.block(&[("a", &huge)])), Err(SpdyError::Inflate));
    inflater.begin();
    assert_eq!(Inflater::new().feed(b"no zlib at all"), Err(SpdyError::Inflate));
}

#[test]
fn what_is_no_block_is_refused() {
    assert_eq!(Headers::parse(&plain(&[("A", "b")])).unwrap().get("a"), Some("b"));
    for bytes in [&[][..], &[0, 0, 0], &[0, 0, 0, 1], &[0, 0, 0, 1, 255, 255, 255, 255], &[0, 0, 0, 0, 7]] {
        assert_eq!(Headers::parse(bytes), None, "{bytes:?}");
    }
    let many = [("a", "b"); 65];
    assert_eq!(Headers::parse(&plain(&many)), None);
}

#[test]
fn our_own_blocks_can_be_inflated() {
    let (mut blocks, mut inflater) = (EmptyBlocks::default(), Inflater::new());
    for _ in 0..3 {
        inflater.begin();
        inflater.feed(&blocks.next()).unwrap();
        assert_eq!(inflater.finish(), Ok(Headers::default()));
    }
}
