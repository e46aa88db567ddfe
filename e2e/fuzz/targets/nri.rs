//! A plugin's side of its socket, in two pieces: what can be read is written so that it reads the same, and what a plugin
//! answers is brought together with what another did.
#![no_main]

use nri::api::{
    CreateContainerRequest, CreateContainerResponse, RegisterPluginRequest, UpdateContainersRequest,
};
use nri::merge::Creation;
use nri::trunk;
use nri::ttrpc::{self, Decoder};
use prost::Message;

fn again(message: &ttrpc::Message, connection: u32) {
    let bytes = trunk::message(connection, message.stream, message.kind, &message.payload);
    let (mut rest, mut decoder, mut frames) =
        (bytes.as_slice(), Decoder::default(), trunk::Decoder::default());
    let mut read = None;
    while let Some((read_from, mut piece)) = frames.next(&mut rest).expect("what was written is a frame") {
        assert_eq!(read_from, connection);
        read = decoder.next(&mut piece, ttrpc::LIMIT).expect("what was written is a message").or(read);
    }
    assert_eq!(read.as_ref(), Some(message));
}

fn look_at(payload: &[u8]) {
    let _ = RegisterPluginRequest::decode(payload);
    let _ = UpdateContainersRequest::decode(payload);
    if let Ok(reply) = CreateContainerResponse::decode(payload) {
        let mut creation = Creation::new(CreateContainerRequest::default());
        if creation.take("10-first", reply.clone()).is_ok() {
            let _ = creation.take("20-second", reply);
        }
        creation.finish();
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let (mut frames, mut messages) = (trunk::Decoder::default(), [Decoder::default(), Decoder::default()]);
    for mut part in [head, tail] {
        loop {
            let (connection, mut piece) = match frames.next(&mut part) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(_) => return,
            };
            let decoder = &mut messages[usize::from(connection == trunk::PLUGIN)];
            loop {
                match decoder.next(&mut piece, ttrpc::LIMIT) {
                    Ok(Some(message)) => {
                        again(&message, connection);
                        if let Ok(request) = message.request() {
                            look_at(&request.payload);
                        }
                        if let Ok(response) = message.response() {
                            look_at(&response.payload);
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            assert!(piece.is_empty(), "bytes are left without a message");
        }
        assert!(part.is_empty(), "bytes are left without a frame");
    }
});
