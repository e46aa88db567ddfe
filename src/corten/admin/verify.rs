//! Images held against what was pulled.

use super::protocol::{Failure, VerifyEvent, VerifyRequest};
use super::server::{Answer, Server, lines};
use std::sync::Arc;
use tokio::sync::mpsc;

impl Server {
    /// One line of JSON an image. A client that goes away leaves it running: a repair is not to stop half way.
    pub(super) fn verify(&self, request: VerifyRequest) -> Answer {
        let images = request.images.into_iter();
        let images = images.map(|image| (image.reference, image.secrets.map(Into::into))).collect();
        let (sender, receiver) = mpsc::unbounded_channel();
        let (store, engine) = (Arc::clone(&self.images), Arc::clone(&self.engine));
        tokio::spawn(async move {
            let told = sender.clone();
            // As many events as images: a slow reader costs no more than they do.
            let tell = move |image| drop(told.send(VerifyEvent::Image(image)));
            let verify = store.verify(images, request.repair, tell);
            let last = match engine.for_operator("corten image verify", "", verify).await {
                Ok(()) => VerifyEvent::Done,
                Err(error) => VerifyEvent::Failed(Failure { error: error.to_string() }),
            };
            let _ = sender.send(last);
        });
        let events = futures::stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await?;
            Some((event, receiver))
        });
        Ok(lines(events))
    }
}
