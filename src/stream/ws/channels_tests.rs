#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::frame::tests::masked;
use super::*;
use crate::bounds::Bounds;
use crate::socket::Watch;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);
const READABLE: [bool; 3] = [true, false, true];

fn start(codec: Codec, closes: bool) -> (DuplexStream, Link, Vec<Slot>) {
    let (client, server) = duplex(1 << 16);
    let (watch, terms) = (Watch::Around(CancellationToken::new()), Bounds::default().forwarding());
    let Served { link, slots } = serve(server, Side { watch, terms }, Mode { codec, closes }, &READABLE);
    (client, link, slots)
}

async fn hear(client: &mut DuplexStream, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    timeout(SOON, client.read_exact(&mut bytes)).await.expect("nothing is said").unwrap();
    assert_eq!(bytes, wanted);
}

/// The rest of what the server says.
async fn rest(client: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(SOON, client.read_to_end(&mut bytes)).await.expect("it does not end").unwrap();
    bytes
}

async fn piece(slot: &mut Slot) -> Option<Vec<u8>> {
    timeout(SOON, slot.reader.as_mut().unwrap().next()).await.expect("nothing comes")
}

#[tokio::test]
async fn messages_find_their_channels() {
    let (mut client, link, mut slots) = start(Codec::Binary, true);
    client.write_all(&masked(0x82, b"\x00hello")).await.unwrap();
    client.write_all(&masked(0x82, b"\x01nobody listens here")).await.unwrap();
    client.write_all(&masked(0x82, b"\x63nor here")).await.unwrap();
    client.write_all(&masked(0x82, b"")).await.unwrap();
    client.write_all(&masked(0x89, b"ping")).await.unwrap();
    client.write_all(&masked(0x82, b"\x02size")).await.unwrap();
    assert_eq!(piece(&mut slots[0]).await.as_deref(), Some(&b"hello"[..]));
    assert_eq!(piece(&mut slots[2]).await.as_deref(), Some(&b"size"[..]));
    hear(&mut client, b"\x8a\x04ping").await;
    slots[1].writer.write(b"out").await.unwrap();
    hear(&mut client, b"\x82\x04\x01out").await;
    client.write_all(&masked(0x82, &[255, 0])).await.unwrap();
    assert_eq!(piece(&mut slots[0]).await, None, "half of it is closed");
    slots[1].writer.write(b"still").await.unwrap();
    hear(&mut client, b"\x82\x06\x01still").await;
    drop(slots);
    let closed = tokio::spawn(link.close());
    assert_eq!(rest(&mut client).await, b"\x88\x02\x03\xe8");
    drop(client);
    timeout(SOON, closed).await.unwrap().unwrap();
}

#[tokio::test]
async fn base64_is_read_and_written() {
    let (mut client, link, mut slots) = start(Codec::Base64, false);
    // "0aGVs" + "bG8=" in two pieces of one message: stdin, hello.
    client.write_all(&masked(0x01, b"0aGVs")).await.unwrap();
    client.write_all(&masked(0x80, b"bG8=")).await.unwrap();
    assert_eq!(piece(&mut slots[0]).await.as_deref(), Some(&b"hel"[..]));
    assert_eq!(piece(&mut slots[0]).await.as_deref(), Some(&b"lo"[..]));
    slots[1].writer.write(b"hello").await.unwrap();
    hear(&mut client, b"\x81\x091aGVsbG8=").await;
    client.write_all(&masked(0x81, b"0aGVsbG8")).await.unwrap();
    timeout(SOON, link.left()).await.unwrap();
    drop((slots, tokio::spawn(link.close())));
    assert_eq!(rest(&mut client).await, b"\x88\x02\x03\xea", "status 1002");
}

#[tokio::test]
async fn what_is_too_large_or_forbidden_ends_the_connection() {
    let mut huge = vec![0x82, 0xff];
    huge.extend_from_slice(&(64_u64 << 20).to_be_bytes());
    huge.extend_from_slice(&[0; 4]);
    for (bytes, status) in [
        (huge, 1009_u16),
        (masked(0x82, &[255, 9]), 1002),
        (masked(0x82, &[255]), 1002),
        (masked(0x82, &[255, 0, 1]), 1002),
        (masked(0x88, b""), 1000),
    ] {
        let (mut client, link, slots) = start(Codec::Binary, true);
        client.write_all(&bytes).await.unwrap();
        timeout(SOON, link.left()).await.unwrap();
        drop((slots, tokio::spawn(link.close())));
        let said = rest(&mut client).await;
        assert_eq!(said[..4], [[0x88, 2], status.to_be_bytes()].concat());
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_makes_the_writer_wait() {
    let (client, link, slots) = start(Codec::Binary, true);
    let text = vec![0; 4 << 20];
    assert!(timeout(Duration::from_millis(200), slots[1].writer.write(&text)).await.is_err());
    drop(client);
    timeout(SOON, link.left()).await.unwrap();
    // What is queued goes nowhere, and says so soon.
    assert!(timeout(SOON, slots[1].writer.write(&text)).await.unwrap().is_err());
}

#[tokio::test]
async fn a_channel_that_nobody_reads_holds_up_no_other() {
    let (mut client, _link, mut slots) = start(Codec::Binary, true);
    let [first, last] = [b"\x00", b"\x02"].map(|channel| [&channel[..], &[0; 32 << 10]].concat());
    let flood = async {
        for _ in 0..(40 << 20) / (32 << 10) {
            client.write_all(&masked(0x82, &first)).await.unwrap();
        }
        client.write_all(&masked(0x82, &last)).await.unwrap();
    };
    let (slot, other) = slots.split_at_mut(2);
    let (_, heard) = tokio::join!(flood, piece(&mut other[0]));
    assert!(heard.is_some());
    assert!(slot[0].writer.is_reset(), "whoever serves it is told");
}
