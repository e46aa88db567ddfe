//! Images into an archive, sent as it is written.

use super::protocol::{REMADE_HEADER, RESULT_TRAILER};
use super::server::{Answer, Refusal, Server, blocking};
use http::header::{HeaderValue, TRAILER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use image::Saving;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;

type Frames = mpsc::Sender<Result<Frame<Bytes>, io::Error>>;

impl Server {
    /// The body is the archive. Whether it is whole stands behind it, as what was damaged shows only there.
    pub(super) async fn save(&self, images: Vec<String>) -> Answer {
        let store = Arc::clone(&self.images);
        let saving = blocking(move || store.save(&images)).await?;
        let remade = HeaderValue::from(saving.remade());
        let (frames, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || send(&saving, &frames));
        let body = futures::stream::unfold(receiver, |mut receiver| async move {
            let frame = receiver.recv().await?;
            Some((frame, receiver))
        });
        let response = Response::builder()
            .status(StatusCode::OK)
            .header(TRAILER, RESULT_TRAILER)
            .header(REMADE_HEADER, remade)
            .body(BodyExt::boxed(StreamBody::new(body)));
        response.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }
}

fn send(saving: &Saving, frames: &Frames) {
    let mut pieces = Pieces { frames, gathered: Vec::with_capacity(PIECE) };
    let written = saving.write(&mut pieces).map_err(|error| error.to_string());
    let result = match written.and_then(|()| pieces.flush().map_err(|error| error.to_string())) {
        Ok(()) => HeaderValue::from_static(""),
        Err(error) => {
            tracing::warn!(error, "an archive of images is not whole");
            let plain: String = error.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
            HeaderValue::from_str(&plain).unwrap_or(HeaderValue::from_static("it could not be written"))
        }
    };
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static(RESULT_TRAILER), result)]);
    // The client may be gone.
    let _ = frames.blocking_send(Ok(Frame::trailers(trailers)));
}

/// Sends what is written.
struct Pieces<'a> {
    frames: &'a Frames,
    gathered: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE));
        let sent = self.frames.blocking_send(Ok(Frame::data(Bytes::from(piece))));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
