//! One forwarded connection: bytes both ways, to the end of either side.

use crate::inlet::Reader;
use crate::link::Writer;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

const PIECE: usize = 32 << 10;
/// How long a client may go on sending once the pod's side has closed the connection; containerd gives it a second.
const FAREWELL: Duration = Duration::from_secs(5);
/// A client that sends nothing for so long, when the pod's side closes, is told at once.
const AT_ONCE: Duration = Duration::from_millis(50);
/// One that was sending is told when it has sent nothing for so long: a program that is told before has its connection
/// closed by the client, which takes back what it has not read yet.
const QUIET: Duration = Duration::from_secs(1);

/// Copies both ways. Either side may close its half first; when the pod has closed its half, the client has a moment
/// to close its own. What the pod has said is told to the end, even where it takes nothing more or breaks off.
pub(crate) async fn carry(stream: TcpStream, reader: Reader, writer: &Writer) {
    // Interactive protocols are forwarded, too; where it cannot be set they are slower.
    let _ = stream.set_nodelay(true);
    let (from_pod, to_pod) = stream.into_split();
    let pieces = AtomicUsize::new(0);
    let up = upward(reader, to_pod, &pieces);
    let down = downward(from_pod, writer);
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut down => {
            if !settle(&mut up, &pieces).await {
                writer.finish().await;
                let _ = timeout(FAREWELL, up).await;
            }
        }
        () = &mut up => down.await,
    }
}

/// Waits until a client that is sending has come to an end, or is quiet; whether it has come to the end.
async fn settle(up: impl Future<Output = ()>, pieces: &AtomicUsize) -> bool {
    tokio::pin!(up);
    let end = Instant::now() + FAREWELL;
    let mut quiet = AT_ONCE;
    loop {
        let sent = pieces.load(Ordering::Relaxed);
        tokio::select! {
            () = &mut up => return true,
            () = sleep_until(end.min(Instant::now() + quiet)) => {}
        }
        if pieces.load(Ordering::Relaxed) == sent || Instant::now() >= end {
            return false;
        }
        quiet = QUIET;
    }
}

/// What the client sends. What a pod does not take any more is thrown away, so that the client comes to read its answer.
async fn upward(mut from: Reader, mut to: OwnedWriteHalf, pieces: &AtomicUsize) {
    let mut is_taken = true;
    while let Some(piece) = from.next().await {
        pieces.fetch_add(1, Ordering::Relaxed);
        is_taken = is_taken && to.write_all(&piece).await.is_ok();
    }
    // A pod that is gone needs not to be told.
    let _ = to.shutdown().await;
}

/// What the pod sends, to its end.
async fn downward(mut from: OwnedReadHalf, to: &Writer) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write(buffer.get(..count).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
