//! Where the layers of a pull come from: hosts of a registry, an archive that was handed in, or another runtime's content.

use super::archive::{Archive, Blobs as _};
use super::content::Content;
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::registry::{Brought, Session, Sink};
use bytes::Bytes;
use std::fs::File;
use std::io::Read as _;

/// Bytes that are read at a time of an archive.
const PIECE: usize = 256 << 10;

/// Where layers come from.
pub(super) enum Source {
    Registry(Session),
    Archive(Archive),
    /// What is not there, or spoilt, comes from the registry where there is one.
    Content(Content, Option<Session>),
}

impl Source {
    /// As [`Session::blob`]; an archive has no hosts.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        sink: &mut impl Sink,
    ) -> Result<Brought, ImageError> {
        match self {
            Self::Registry(session) => session.blob(descriptor, from, sink).await,
            Self::Archive(archive) => {
                let file = archive.open(&descriptor.digest)?;
                copy(file, sink).await.map_err(ImageError::io("read", archive.path()))?;
                Ok(Brought::Whole(None))
            }
            Self::Content(content, session) => match (content.open(&descriptor.digest), session) {
                (Ok(file), _) => {
                    copy(file, sink).await.map_err(ImageError::io("read", content.path()))?;
                    Ok(Brought::Whole(None))
                }
                (Err(_), Some(session)) => {
                    content.note_fetched();
                    session.blob(descriptor, from, sink).await
                }
                (Err(error), None) => Err(error),
            },
        }
    }

    /// As [`Session::distrust`]; an archive or a directory has nobody else to ask.
    pub(super) fn distrust(&self, number: usize, problem: &str) -> bool {
        match self {
            Self::Registry(session) | Self::Content(_, Some(session)) => session.distrust(number, problem),
            Self::Archive(_) | Self::Content(_, None) => false,
        }
    }

    /// Whether an interrupted transfer would have to be repeated over a network.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Registry(_))
    }
}

async fn copy(file: File, sink: &mut impl Sink) -> std::io::Result<()> {
    let mut file = Some(file);
    loop {
        let Some(mut open) = file.take() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let count = open.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((open, piece))
        });
        let (open, piece) = read.await.map_err(|_| std::io::ErrorKind::Interrupted)??;
        if piece.is_empty() || !sink.take(Bytes::from(piece)).await {
            return Ok(());
        }
        file = Some(open);
    }
}
