#![allow(clippy::unwrap_used)]

use super::hpack::tests::huffman;
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, 1], content].concat()
}

/// `:authority` as it is written by its number or its name, plain or in the Huffman code.
fn authority(value: &[u8], is_named: bool, is_huffman: bool) -> Vec<u8> {
    let string = |text: &[u8]| {
        let (mark, text) = if is_huffman { (0x80, huffman(text)) } else { (0, text.to_vec()) };
        [&[mark | u8::try_from(text.len()).unwrap()][..], &text].concat()
    };
    let name = if is_named { [&[0x40][..], &string(b":authority")].concat() } else { vec![0x41] };
    [name, string(value)].concat()
}

async fn through(bytes: &[u8], step: usize) -> Vec<u8> {
    let (mut client, server) = duplex(64);
    let mut server = Lenient::new(server);
    let send = async move {
        for piece in bytes.chunks(step) {
            client.write_all(piece).await.unwrap();
        }
    };
    let mut all = Vec::new();
    let (_, read) = tokio::join!(send, server.read_to_end(&mut all));
    read.unwrap();
    all
}

#[tokio::test]
async fn authorities_are_found_however_the_stream_is_cut() {
    for (is_named, is_huffman) in [(false, false), (false, true), (true, false), (true, true)] {
        let stream = |value: &[u8]| {
            let block = [&[0x83, 0x86][..], &authority(value, is_named, is_huffman), &[0x84]].concat();
            let padded = [&[3][..], &[0; 5], &block, &[0; 3]].concat();
            [
                PREFACE.to_vec(),
                frame(4, 0, &[]),
                frame(HEADERS, 4, &block),
                frame(0, 1, b"/run/corten.sock stays in what is sent"),
                frame(HEADERS, 4 | PADDED | PRIORITY, &padded),
                frame(0, 1, &[7; 20_000]),
            ]
            .concat()
        };
        let (given, wanted) = (stream(b"%2Frun%2Fc.sock"), stream(b"-2Frun-2Fc.sock"));
        for step in [1, 2, 7, 64, 4096, given.len()] {
            assert!(through(&given, step).await == wanted, "{is_named} {is_huffman} {step}");
        }
    }
}

#[tokio::test]
async fn what_is_not_understood_passes() {
    let huge = frame(HEADERS, 4, &[0x41; 20_000]);
    let padding = frame(HEADERS, 4 | PADDED, &[200, 0x41]);
    let cut = frame(HEADERS, 0, &[0x41, 0x7f]);
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HT".to_vec(),
        [PREFACE, &huge, &padding, &cut].concat(),
        [PREFACE, &cut[..11]].concat(),
    ] {
        assert!(through(&bytes, 5).await == bytes);
    }
}
