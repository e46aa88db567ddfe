#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::headers::tests::Deflater;
use super::*;

pub(crate) fn open(deflater: &mut Deflater, id: u32, fin: bool, headers: &[(&str, &str)]) -> Vec<u8> {
    let block = deflater.block(headers);
    control(SYN_STREAM, u8::from(fin), &[&id.to_be_bytes(), &[0; 6], &block])
}

/// All events, with the bytes of data frames joined, when the stream comes in pieces.
fn decode(bytes: &[u8], step: usize) -> Result<Vec<(Event, Vec<u8>)>, SpdyError> {
    let mut decoder = Decoder::new();
    let mut events: Vec<(Event, Vec<u8>)> = Vec::new();
    for piece in bytes.chunks(step) {
        let mut at = 0;
        while let Some(event) = decoder.next(piece, &mut at)? {
            let Event::Data { id, bytes } = event else {
                events.push((event, Vec::new()));
                continue;
            };
            match events.last_mut() {
                Some((Event::Data { id: last, .. }, all)) if *last == id => all.extend(&piece[bytes]),
                _ => events.push((Event::Data { id, bytes: 0..0 }, piece[bytes].to_vec())),
            }
        }
        assert_eq!(at, piece.len());
    }
    Ok(events)
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let mut deflater = Deflater::new();
    let headers = [("streamtype", "stdin")];
    let stream = [
        open(&mut deflater, 1, false, &headers),
        ping(7),
        data(1, false, b"hello "),
        data(1, true, b"world"),
        open(&mut deflater, 3, true, &[("streamtype", "error"), ("port", "80")]),
        window(1, 1024),
        control(4, 0, &[&[0; 12]]),
        control(99, 0, &[b"unknown kinds are skipped"]),
        reset(3, Reset::Cancel),
        data(5, true, b""),
        go_away(3),
    ]
    .concat();
    let wanted = [
        Event::Open { id: 1, fin: false, headers: Headers::of(&headers) },
        Event::Ping(7),
        Event::Data { id: 1, bytes: 0..0 },
        Event::Finished(1),
        Event::Open { id: 3, fin: true, headers: Headers::of(&[("streamtype", "error"), ("port", "80")]) },
        Event::Reset(3),
        Event::Finished(5),
        Event::GoAway,
    ];
    for step in [1, 2, 3, 11, 64, stream.len()] {
        let events = decode(&stream, step).unwrap();
        let kinds: Vec<Event> = events.iter().map(|(event, _)| event.clone()).collect();
        assert_eq!(kinds, wanted, "in steps of {step}");
        assert_eq!(events[2].1, b"hello world");
    }
}

#[test]
fn an_oversized_data_frame_costs_its_stream_alone() {
    let large = vec![b'x'; MAX_DATA as usize + 1];
    let stream = [data(1, true, &large), data(3, true, b"fine")].concat();
    let events = decode(&stream, 32 << 10).unwrap();
    assert_eq!(events[0].0, Event::Violation(1, Reset::TooLarge));
    assert_eq!(events[1], (Event::Data { id: 3, bytes: 0..0 }, b"fine".to_vec()));
    assert_eq!(events.len(), 3);
}

#[test]
fn a_header_block_that_is_none_costs_its_stream_alone() {
    let mut deflater = Deflater::new();
    let broken = deflater.raw(&[0, 0, 0, 9]);
    let stream = [
        control(SYN_STREAM, 0, &[&1_u32.to_be_bytes(), &[0; 6], &broken]),
        open(&mut deflater, 3, false, &[("streamtype", "data")]),
    ]
    .concat();
    let events = decode(&stream, 5).unwrap();
    assert_eq!(events[0].0, Event::Violation(1, Reset::Protocol));
    assert!(matches!(events[1].0, Event::Open { id: 3, .. }));
}

#[test]
fn broken_control_frames_cost_the_connection() {
    let mut wrong = ping(1);
    wrong[1] = 2;
    assert_eq!(decode(&wrong, 64), Err(SpdyError::Version(2)));
    assert_eq!(decode(&control(RST_STREAM, 0, &[&[0; 4]]), 64), Err(SpdyError::Short(RST_STREAM)));
    let mut huge = control(SYN_STREAM, 0, &[]);
    huge[5..8].copy_from_slice(&[0xff; 3]);
    assert_eq!(decode(&huge, 64), Err(SpdyError::Control(0x00ff_ffff)));
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
    let whole = [
        open(&mut Deflater::new(), 1, false, &[("streamtype", "stdin")]),
        data(1, true, b"text"),
        reset(1, Reset::Refused),
    ]
    .concat();
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random() % 5 {
            let at = usize::from(random()) % bytes.len();
            bytes[at] = random();
        }
        let _ = decode(&bytes, 1 + usize::from(random()) % 40);
        let noise: Vec<u8> = (0..100).map(|_| random()).collect();
        let _ = decode(&noise, 7);
    }
}
