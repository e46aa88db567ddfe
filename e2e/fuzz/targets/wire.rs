//! Frames between daemon and shim in two pieces, and exit files: what can be read is written so that it reads the same.
#![no_main]

use wire::exit;
use wire::frame::{self, Body, FrameDecoder};

fn again(body: &Body) {
    let bytes = match body {
        Body::Request(request) => {
            request.needs();
            frame::request(7, request)
        }
        Body::Reply(reply) => frame::reply(7, reply),
        Body::Event(event) => frame::event(event),
    };
    let mut decoder = FrameDecoder::new();
    decoder.push(&bytes);
    let read = decoder.next_frame().expect("what was written is a frame").expect("and a whole one");
    assert_eq!(read.body, *body);
    assert_eq!(decoder.next_frame(), Ok(None));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = exit::decode(bytes) {
        assert_eq!(exit::decode(&exit::encode(&record)), Ok(record));
    }
    let mut decoder = FrameDecoder::with_limit(wire::REQUEST_LIMIT);
    let mut rest = bytes;
    while let Ok(Some(asked)) = decoder.next_request(&mut rest) {
        if let Ok(request) = asked.request {
            again(&Body::Request(request));
        }
    }
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let mut decoder = FrameDecoder::new();
    for piece in [head, tail] {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => again(&frame.body),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
