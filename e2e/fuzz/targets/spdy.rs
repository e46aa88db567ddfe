//! A client's SPDY/3.1 connection in two pieces, cut where the first byte says, and a header block.
#![no_main]

use stream::spdy::frame::Decoder;
use stream::spdy::headers::Headers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    Headers::parse(bytes);
    let mut decoder = Decoder::new();
    for piece in [head, tail] {
        let mut at = 0;
        loop {
            match decoder.next(piece, &mut at) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert_eq!(at, piece.len(), "bytes are left without an event");
    }
});
