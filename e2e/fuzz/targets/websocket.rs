//! A client's WebSocket connection in two pieces, cut where the first byte says.
#![no_main]

use stream::ws::frame::Decoder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let mut decoder = Decoder::new();
    for piece in [head, tail] {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(&mut piece, &mut at) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert_eq!(at, piece.len(), "bytes are left without an event");
    }
});
