#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::exit;
use crate::plan::{ContainerPlan, PidNamespace};
use crate::samples::{self, encoded, record};

/// A small deterministic generator (xorshift), so that failures can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

fn bodies() -> Vec<Body> {
    samples::all().into_iter().map(|(_, body)| body).collect()
}

#[test]
fn every_message_survives_the_round_trip() {
    for body in bodies() {
        let id = if matches!(body, Body::Event(_)) { 0 } else { u64::MAX - 3 };
        let mut decoder = FrameDecoder::new();
        decoder.push(&encoded(id, &body));
        assert_eq!(decoder.next_frame().unwrap(), Some(Frame { id, body }));
        assert_eq!(decoder.next_frame().unwrap(), None);
    }
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let all: Vec<u8> = bodies().iter().flat_map(|body| encoded(5, body)).collect();
    for step in [1, 3, 7, 64, 4096, all.len()] {
        let mut decoder = FrameDecoder::new();
        let mut found = Vec::new();
        for chunk in all.chunks(step) {
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame().unwrap() {
                found.push(frame.body);
            }
        }
        assert_eq!(found, bodies(), "in steps of {step}");
    }
}

#[test]
fn every_truncation_is_an_error_or_asks_for_more() {
    for body in bodies() {
        let whole = encoded(1, &body);
        for cut in 0..whole.len() {
            let mut decoder = FrameDecoder::new();
            decoder.push(&whole[..cut]);
            assert_eq!(decoder.next_frame(), Ok(None));
            if cut >= LENGTH {
                // The same bytes under a length that claims to be all of them.
                let mut short = u32::try_from(cut - LENGTH).unwrap().to_le_bytes().to_vec();
                short.extend_from_slice(&whole[LENGTH..cut]);
                let mut decoder = FrameDecoder::new();
                decoder.push(&short);
                assert!(decoder.next_frame().is_err(), "cut at {cut} of {body:?}");
            }
        }
    }
}

/// Of a test with random bytes; an interpreter is slow.
const ROUNDS: u32 = if cfg!(miri) { 3 } else { 400 };
const LONGEST: u32 = if cfg!(miri) { 60 } else { 600 };

#[test]
fn flipped_and_random_bytes_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for body in bodies() {
        let whole = encoded(1, &body);
        for _ in 0..ROUNDS {
            let mut bytes = whole.clone();
            for _ in 0..=random.byte() % 4 {
                let at = usize::try_from(random.next()).unwrap() % (bytes.len() - LENGTH) + LENGTH;
                bytes[at] = random.byte();
            }
            let mut decoder = FrameDecoder::new();
            decoder.push(&bytes);
            let _ = decoder.next_frame();
        }
    }
    for length in 0..LONGEST {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.push(random.byte() % 3);
        bytes.extend((0..length).map(|_| random.byte()));
        let mut decoder = FrameDecoder::new();
        decoder.push(&bytes);
        let _ = decoder.next_frame();
        let _ = exit::decode(&bytes);
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_buffered() {
    let mut decoder = FrameDecoder::with_limit(100);
    decoder.push(&101_u32.to_le_bytes());
    assert_eq!(decoder.next_frame(), Err(DecodeError::TooLong { length: 101, limit: 100 }));
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let mut bytes = exit::encode(&record());
    bytes.extend_from_slice(b"future");
    let grown = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&grown.to_le_bytes());
    assert_eq!(exit::decode(&bytes), Ok(record()));
}

#[test]
fn a_field_of_a_feature_takes_no_byte_where_it_says_nothing() {
    let create = |plan| request(3, &Request::Create(plan));
    let plain = create(ContainerPlan::default()).len();
    let mapped = create(ContainerPlan { ids: samples::ids(), ..ContainerPlan::default() }).len();
    // A length, and two lists of one range, which has a length and three numbers; of the fields behind it nothing.
    assert_eq!(mapped - plain, 4 + 2 * (4 + 4 + 3 * 4));
}

#[test]
fn what_a_later_version_adds_to_a_plan_is_skipped() {
    let body = Body::Request(Request::Create(samples::container()));
    let mut bytes = encoded(3, &body);
    bytes.push(7);
    // The lengths of the frame, of the request and of the plan.
    for at in [0, LENGTH + HEADER + 1, LENGTH + HEADER + 5] {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) + 1;
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    let mut decoder = FrameDecoder::new();
    decoder.push(&bytes);
    assert_eq!(decoder.next_frame(), Ok(Some(Frame { id: 3, body })));
}

#[test]
fn an_exit_file_is_recognised_by_its_magic() {
    assert_eq!(exit::decode(&exit::encode(&record())), Ok(record()));
    assert!(exit::decode(b"").is_err());
    assert!(exit::decode(b"nonsense").is_err());
}

/// A Create whose PID namespace has this number, which is the one byte in which two of them differ.
fn create_with(tag: u8) -> Vec<u8> {
    let create = |pid_namespace| {
        let plan = ContainerPlan { pid_namespace, ..ContainerPlan::default() };
        request(3, &Request::Create(plan))
    };
    let (host, pod) = (create(PidNamespace::Host), create(PidNamespace::Pod));
    let at = host.iter().zip(&pod).position(|(host, pod)| host != pod).unwrap();
    let mut bytes = host;
    bytes[at] = tag;
    bytes
}

#[test]
fn a_variant_of_a_newer_version_is_refused_by_name_and_nothing_behind_it_is_lost() {
    let mut unknown = request(4, &Request::Hello);
    unknown[LENGTH + HEADER] = 99;
    let mut decoder = FrameDecoder::with_limit(1000);
    let bytes = [create_with(77), unknown, request(5, &Request::Hello)].concat();
    let mut bytes = bytes.as_slice();
    let asked = decoder.next_request(&mut bytes).unwrap().unwrap();
    let error = DecodeError::Unknown { what: "PidNamespace", tag: 77 };
    assert_eq!(asked, Asked { id: 3, request: Err(error) });
    assert_eq!(error.to_string(), "message holds a PidNamespace of number 77, which is not known here");
    let asked = decoder.next_request(&mut bytes).unwrap().unwrap();
    assert_eq!(asked, Asked { id: 4, request: Err(DecodeError::Unknown { what: "Request", tag: 99 }) });
    assert_eq!(decoder.next_request(&mut bytes), Ok(Some(Asked { id: 5, request: Ok(Request::Hello) })));
    assert_eq!(decoder.next_request(&mut bytes), Ok(None));
    // A daemon has no use for a message that it cannot read.
    decoder.push(&create_with(77));
    assert_eq!(decoder.next_frame(), Err(error));
}

#[test]
fn requests_are_read_in_whatever_pieces_they_come() {
    let start = |id: u64| (id, Request::Start { id: "c".repeat(usize::try_from(id).unwrap()) });
    let sent: Vec<(u64, Request)> = (1..=5).map(start).collect();
    let bytes: Vec<u8> = sent.iter().flat_map(|(id, message)| request(*id, message)).collect();
    for size in 1..=bytes.len() {
        let (mut decoder, mut read) = (FrameDecoder::new(), Vec::new());
        for mut piece in bytes.chunks(size) {
            while let Some(asked) = decoder.next_request(&mut piece).unwrap() {
                read.push((asked.id, asked.request.unwrap()));
            }
            assert!(piece.is_empty());
        }
        assert_eq!(read, sent, "in pieces of {size} bytes");
    }
}

#[test]
fn what_is_no_request_or_torn_is_none_that_could_be_answered() {
    let event = event(&Event::Exited(record()));
    let mut torn = request(3, &Request::Hello);
    torn[0] -= 1;
    torn.pop();
    let mut malformed = request(3, &Request::Start { id: "c".to_owned() });
    *malformed.last_mut().unwrap() = 0xff;
    for bytes in [event, torn, malformed] {
        let mut decoder = FrameDecoder::new();
        assert!(decoder.next_request(&mut bytes.as_slice()).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_frame_as_long_as_the_limit_is_read() {
    let bytes = request(3, &Request::Start { id: "c".to_owned() });
    let mut decoder = FrameDecoder::with_limit(bytes.len() - LENGTH);
    decoder.push(&bytes);
    assert!(matches!(decoder.next_frame(), Ok(Some(_))));
}

#[test]
fn a_request_has_room_for_all_that_grpc_may_bring() {
    let mut plan = samples::container();
    plan.process.env = vec![vec![b'x'; 16 << 20]];
    let mut decoder = FrameDecoder::with_limit(crate::REQUEST_LIMIT);
    let bytes = request(3, &Request::Create(plan));
    assert!(matches!(decoder.next_request(&mut bytes.as_slice()), Ok(Some(Asked { id: 3, request: Ok(_) }))));
}

#[test]
fn what_a_long_frame_has_taken_is_given_back_with_it() {
    let bytes = request(3, &Request::Start { id: "c".repeat(1 << 20) });
    let mut decoder = FrameDecoder::new();
    decoder.push(&bytes);
    assert!(matches!(decoder.next_frame(), Ok(Some(_))));
    assert_eq!(decoder.buffer.capacity(), 0);
    // Also of one that came with half of the next.
    decoder.push(&bytes);
    decoder.push(&bytes[..7]);
    assert!(matches!(decoder.next_frame(), Ok(Some(_))));
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.buffer.len(), 7);
}

#[test]
fn a_frame_without_room_for_its_number_has_no_header() {
    for length in 0..HEADER {
        let mut decoder = FrameDecoder::new();
        decoder.push(&u32::try_from(length).unwrap().to_le_bytes());
        decoder.push(&vec![0; length]);
        assert_eq!(decoder.next_frame(), Err(DecodeError::Truncated { what: "frame header" }));
    }
    let mut decoder = FrameDecoder::new();
    decoder.push(&u32::try_from(HEADER).unwrap().to_le_bytes());
    decoder.push(&[0; HEADER]);
    assert_eq!(decoder.next_frame(), Err(DecodeError::Truncated { what: "Request" }));
}

#[test]
fn a_boolean_is_nothing_but_yes_or_no() {
    let stop = |all| request(3, &Request::Signal { id: "c".to_owned(), signal: 15, all });
    let mut bytes = stop(true);
    assert_eq!(*bytes.last().unwrap(), 1);
    assert_eq!(*stop(false).last().unwrap(), 0);
    *bytes.last_mut().unwrap() = 2;
    let mut decoder = FrameDecoder::new();
    decoder.push(&bytes);
    assert_eq!(decoder.next_frame(), Err(DecodeError::Malformed { what: "boolean" }));
}
