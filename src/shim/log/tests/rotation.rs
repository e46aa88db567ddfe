//! Rotation at any moment: every byte of every output is in one file, in order and on whole lines.

use proptest::prelude::*;

use super::{Scratch, Stream};
use crate::log::{Log, PIECE};

#[derive(Debug, Clone)]
enum Step {
    Write(bool, Vec<u8>),
    Rotate,
    /// Opened anew where the file still is.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let byte = prop_oneof![4 => Just(b'x'), 1 => Just(b'\n')];
    let piece = prop_oneof![
        6 => prop::collection::vec(byte, 0..40),
        1 => (PIECE - 2..PIECE + 2).prop_map(|length| vec![b'y'; length]),
        1 => (PIECE - 2..2 * PIECE + 2).prop_map(|length| [vec![b'z'; length], vec![b'\n']].concat()),
    ];
    prop_oneof![
        5 => (any::<bool>(), piece).prop_map(|(out, bytes)| Step::Write(out, bytes)),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reopen),
    ]
}

/// What a file holds of each output.
fn read(text: &[u8], read: &mut [Vec<u8>; 2]) -> Result<(), TestCaseError> {
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let parts: Vec<&[u8]> = line.splitn(4, |byte| *byte == b' ').collect();
        prop_assert_eq!(parts.len(), 4);
        let body = parts[3].strip_suffix(b"\n").expect("a torn line");
        prop_assert!(body.len() <= PIECE);
        let output = &mut read[usize::from(parts[1] == b"stderr")];
        output.extend_from_slice(body);
        match parts[2] {
            b"F" => output.push(b'\n'),
            tag => prop_assert_eq!(tag, b"P"),
        }
    }
    Ok(())
}

proptest! {
    // A file of seeds would be taken for a crate; the smallest case that fails is printed.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_doubled(steps in prop::collection::vec(step(), 1..40)) {
        let scratch = Scratch::new("rotation");
        let path = scratch.0.join("0.log");
        let _ = std::fs::remove_file(&path);
        let mut log = Log::open(&scratch.file()).expect("a log");
        let (mut written, mut found) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for step in steps {
            match step {
                Step::Write(out, bytes) => {
                    let stream = if out { Stream::Out } else { Stream::Err };
                    log.write(stream, &bytes);
                    written[usize::from(!out)].extend_from_slice(&bytes);
                }
                Step::Rotate => {
                    let aside = scratch.0.join("0.log.1");
                    std::fs::rename(&path, &aside).expect("a file");
                    log.reopen().expect("a new log");
                    read(&std::fs::read(aside).expect("the old log"), &mut found)?;
                }
                Step::Reopen => log.reopen().expect("the same log"),
            }
        }
        log.finish(Stream::Out);
        log.finish(Stream::Err);
        read(&std::fs::read(&path).expect("the last log"), &mut found)?;
        prop_assert_eq!(log.lost(), 0);
        prop_assert!(found == written, "found {:?}, written {:?}", found.map(|one| one.len()), written.map(|one| one.len()));
    }
}
