#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// A frame as clients send it.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = frame(0, &[payload]);
    let head = bytes.len() - payload.len();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.splice(head..head, mask);
    for (at, byte) in bytes[head + 4..].iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    bytes
}

/// All events with the bytes of payloads, when the stream comes in pieces; payloads of a message are joined.
fn decode(bytes: &[u8], step: usize) -> Result<Vec<(Event, Vec<u8>)>, WsError> {
    let mut decoder = Decoder::new();
    let mut events: Vec<(Event, Vec<u8>)> = Vec::new();
    for piece in bytes.chunks(step) {
        let (mut piece, mut at) = (piece.to_vec(), 0);
        while let Some(event) = decoder.next(&mut piece, &mut at)? {
            match (event, events.last_mut()) {
                (Event::Payload(range), Some((Event::Payload(_), all))) => all.extend(&piece[range]),
                (Event::Payload(range), _) => events.push((Event::Payload(0..0), piece[range].to_vec())),
                (event, _) => events.push((event, Vec::new())),
            }
        }
        assert_eq!(at, piece.len());
    }
    Ok(events)
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let long = vec![b'x'; 70_000];
    let stream = [
        masked(0x82, b"hello"),
        masked(0x89, b"are you there"),
        masked(0x02, b"in "),
        masked(0x8a, b""),
        masked(0x00, b"three "),
        masked(0x80, b"pieces"),
        masked(0x82, &[b'y'; 300]),
        masked(0x82, &long),
        masked(0x82, b""),
        masked(0x88, &1000_u16.to_be_bytes()),
    ]
    .concat();
    let payload = || Event::Payload(0..0);
    let wanted = [
        (payload(), b"hello".to_vec()),
        (Event::End, Vec::new()),
        (Event::Ping(b"are you there".to_vec()), Vec::new()),
        (payload(), b"in three pieces".to_vec()),
        (Event::End, Vec::new()),
        (payload(), vec![b'y'; 300]),
        (Event::End, Vec::new()),
        (payload(), long),
        (Event::End, Vec::new()),
        (Event::End, Vec::new()),
        (Event::Close, Vec::new()),
    ];
    for step in [1, 2, 5, 64, 4096, stream.len()] {
        assert!(decode(&stream, step).unwrap() == wanted, "in steps of {step}");
    }
}

#[test]
fn what_the_protocol_forbids_ends_the_connection() {
    let protocol = |bytes: &[u8]| matches!(decode(bytes, 3), Err(WsError::Protocol(_)));
    assert!(protocol(&binary(1, b"without a mask")));
    assert!(protocol(&masked(0xc2, b"reserved")));
    assert!(protocol(&masked(0x80, b"the middle of nothing")));
    assert!(protocol(&[masked(0x02, b"a"), masked(0x82, b"b")].concat()));
    assert!(protocol(&masked(0x09, b"half a ping")));
    assert!(protocol(&masked(0x89, &[0; 126])));
    assert!(protocol(&masked(0x83, b"no such opcode")));
}

#[test]
fn an_oversized_frame_is_refused_by_its_header() {
    let mut huge = vec![0x82, 0xff];
    huge.extend_from_slice(&(MAX_FRAME + 1).to_be_bytes());
    huge.extend_from_slice(&[0; 4]);
    let error = decode(&huge, 4).unwrap_err();
    assert_eq!((error, error.status()), (WsError::TooLarge(MAX_FRAME + 1), 1009));
    huge[2..10].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(decode(&huge, 4), Err(WsError::TooLarge(u64::MAX)));
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let whole = [masked(0x82, b"hello"), masked(0x89, b"ping"), masked(0x01, b"text")].concat();
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random() % 4 {
            let at = usize::from(random()) % bytes.len();
            bytes[at] = random();
        }
        let _ = decode(&bytes, 1 + usize::from(random()) % 9);
    }
}
