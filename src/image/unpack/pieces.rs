//! The channels of the pipeline, as readers where they are read.

use super::outline::Recorder;
use crate::digest::Hasher;
use bytes::Bytes;
use std::io::{self, BufRead, Read};
use std::sync::mpsc;

/// What the socket's side sends.
pub(crate) enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// As [`Self::Data`], of bytes that are kept already.
    Kept(Bytes),
    /// The blob is complete; without this, an end is an abort.
    End,
}

/// The error of a reader whose other side is gone; no decoder makes one of this kind itself.
pub(super) const GIVEN_UP: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// What the thread that checks the compressed bytes lets through.
pub(super) enum Checked {
    /// The next bytes; whether they are the right ones shows at the end.
    Data(Bytes),
    /// Everything came and had the right digest.
    End,
}

/// The compressed bytes for a decoder.
pub(super) struct Compressed {
    input: mpsc::Receiver<Checked>,
    current: Bytes,
    ended: bool,
}

impl Compressed {
    pub(super) fn new(input: mpsc::Receiver<Checked>) -> Self {
        Self { input, current: Bytes::new(), ended: false }
    }

    /// So many of the first bytes, or all where there are fewer; nothing is taken.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.current.len() < count {
            match self.receive()? {
                Some(more) if self.current.is_empty() => self.current = more,
                Some(more) => self.current = Bytes::from([&self.current[..], &more[..]].concat()),
                None => break,
            }
        }
        Ok(&self.current)
    }

    /// The next piece whole; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.current.is_empty() { self.receive() } else { Ok(Some(std::mem::take(&mut self.current))) }
    }

    fn receive(&mut self) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        match self.input.recv() {
            Ok(Checked::Data(bytes)) => Ok(Some(bytes)),
            Ok(Checked::End) => {
                self.ended = true;
                Ok(None)
            }
            Err(mpsc::RecvError) => Err(GIVEN_UP.into()),
        }
    }
}

impl Read for Compressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Compressed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.receive()? {
                Some(bytes) => self.current = bytes,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.current.len());
        self.current = self.current.split_off(count);
    }
}

/// What the inflating thread sends.
pub(super) enum Chunk {
    /// A buffer, which goes back when it is used up, and how much of it counts.
    Buffer(Vec<u8>, usize),
    /// Bytes that were never compressed.
    Plain(Bytes),
    /// Everything came and had the right digest.
    End,
}

/// The uncompressed bytes, hashed as they pass.
pub(super) struct Inflated {
    input: mpsc::Receiver<Chunk>,
    /// Where used buffers go back to; dropped buffers are no harm.
    back: mpsc::Sender<Vec<u8>>,
    current: Chunk,
    at: usize,
    /// `None` where nothing was compressed: the bytes are the same as those whose digest is checked.
    pub hasher: Option<Hasher>,
}

impl Inflated {
    pub(super) fn new(input: mpsc::Receiver<Chunk>, back: mpsc::Sender<Vec<u8>>) -> Self {
        Self { input, back, current: Chunk::Plain(Bytes::new()), at: 0, hasher: None }
    }

    /// Reads what is left, so that it is hashed. An error means that the other side gave up.
    pub(super) fn drain(&mut self, outline: &mut Recorder) -> io::Result<()> {
        loop {
            let rest = self.fill_buf()?;
            let count = rest.len();
            if count == 0 {
                return Ok(());
            }
            outline.raw(rest);
            self.consume(count);
        }
    }

    fn rest(&self) -> &[u8] {
        match &self.current {
            Chunk::Buffer(buffer, length) => &buffer[self.at..*length],
            Chunk::Plain(bytes) => &bytes[self.at..],
            Chunk::End => &[],
        }
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Inflated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.rest().is_empty() && !matches!(self.current, Chunk::End) {
            let next = self.input.recv().map_err(|_| io::Error::from(GIVEN_UP))?;
            let used = std::mem::replace(&mut self.current, next);
            self.at = 0;
            if let Chunk::Buffer(buffer, _) = used {
                let _ = self.back.send(buffer);
            }
            if let Chunk::Buffer(buffer, length) = &self.current {
                self.hasher.get_or_insert_default().update(&buffer[..*length]);
            }
        }
        Ok(self.rest())
    }

    fn consume(&mut self, count: usize) {
        self.at += count.min(self.rest().len());
    }
}
