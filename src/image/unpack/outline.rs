//! An archive without the contents of its files: headers, padding and end, to the byte.
//!
//! It is written while a layer is unpacked, costs a few bytes an entry, and together with the unpacked files gives the
//! layer's archive again: what was unpacked can be held against the diff id, and be saved, without the compressed layer.
//!
//! ```text
//! zstd of:  0 length(u32) bytes…               bytes of the archive
//!           1 size(u64) length(u16) path…      the content of the file at the path comes here
//!           2                                  the end
//!           3 length(u32) bytes…  and 2        behind it, where they are many: directories without entries ([`Paths`])
//! ```
//! Numbers are little-endian.

use super::implied::Paths;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};

const RAW: u8 = 0;
const FILE: u8 = 1;
const END: u8 = 2;
const PATHS: u8 = 3;
/// Paths that take no more bytes are few: whoever unpacked the layer keeps them.
pub(crate) const FEW: usize = 16 << 10;
/// Bytes of the archive that are gathered before they are written.
const GATHERED: usize = 32 << 10;
/// Headers resemble each other: this fast level still leaves 25 bytes an entry, and costs a quarter of a microsecond.
const LEVEL: i32 = -7;
/// What is looked back at, and so the memory of it: 256 KiB.
const WINDOW_LOG: u32 = 18;

/// Writes an outline, or nothing.
#[derive(Default)]
pub(crate) struct Recorder {
    encoder: Option<zstd::stream::write::Encoder<'static, File>>,
    raw: Vec<u8>,
    /// Told at the end: what is recorded is never waited for.
    failed: Option<io::Error>,
}

impl Recorder {
    /// Records into the empty file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
        encoder.window_log(WINDOW_LOG)?;
        Ok(Self { encoder: Some(encoder), raw: Vec::with_capacity(GATHERED), failed: None })
    }

    /// Bytes that are in no file.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if self.encoder.is_some() {
            for piece in bytes.chunks(GATHERED) {
                if self.raw.len() + piece.len() > GATHERED {
                    self.flush();
                }
                self.raw.extend_from_slice(piece);
            }
        }
    }

    /// Content that is in a file.
    pub(super) fn file(&mut self, path: &[u8], size: u64) {
        if self.encoder.is_none() || size == 0 {
            return;
        }
        self.flush();
        let Ok(length) = u16::try_from(path.len()) else {
            self.failed = Some(io::ErrorKind::InvalidFilename.into());
            return;
        };
        self.write(&[FILE]);
        self.write(&size.to_le_bytes());
        self.write(&length.to_le_bytes());
        self.write(path);
    }

    /// Ends the outline, with those paths behind it if they are many.
    ///
    /// # Errors
    /// The first failure of any write.
    pub(super) fn finish(mut self, paths: &Paths) -> io::Result<()> {
        self.flush();
        self.write(&[END]);
        if paths.texts(FEW).is_none() {
            for piece in paths.encoded().chunks(GATHERED) {
                self.write(&[PATHS]);
                self.write(&u32::try_from(piece.len()).unwrap_or(0).to_le_bytes());
                self.write(piece);
            }
            self.write(&[END]);
        }
        match (self.failed, self.encoder) {
            (Some(error), _) => Err(error),
            (None, Some(encoder)) => encoder.finish().map(drop),
            (None, None) => Ok(()),
        }
    }

    fn flush(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        if let Ok(length @ 1..) = u32::try_from(raw.len()) {
            self.write(&[RAW]);
            self.write(&length.to_le_bytes());
            self.write(&raw);
        }
        self.raw = raw;
        self.raw.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Some(encoder) = &mut self.encoder
        {
            self.failed = encoder.write_all(bytes).err();
        }
    }
}

/// A part of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// These bytes.
    Raw(Vec<u8>),
    /// The content of a file of the layer.
    File {
        /// Its path in the layer, without a leading slash.
        path: Vec<u8>,
        /// Its bytes.
        size: u64,
    },
}

/// Reads an outline.
pub(crate) struct Outline {
    decoder: zstd::stream::read::Decoder<'static, BufReader<File>>,
}

impl Outline {
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::new(file)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(Self { decoder })
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// `InvalidData` for an outline that is damaged, `UnexpectedEof` for one that is cut.
    pub(crate) fn next(&mut self) -> io::Result<Option<Part>> {
        let [tag] = self.array()?;
        match tag {
            RAW => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                if length > GATHERED {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.bytes(length).map(|bytes| Some(Part::Raw(bytes)))
            }
            FILE => {
                let size = u64::from_le_bytes(self.array()?);
                let length = u16::from_le_bytes(self.array()?);
                Ok(Some(Part::File { path: self.bytes(length.into())?, size }))
            }
            END => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The paths behind the outline, in no more than so many bytes.
    ///
    /// # Errors
    /// As of [`Self::next`]; `OutOfMemory` where there are more.
    pub(crate) fn paths(mut self, most: usize) -> io::Result<Paths> {
        while self.next()?.is_some() {}
        let mut encoded = Vec::new();
        loop {
            match self.array()? {
                [END] => return Ok(Paths::decode(encoded)),
                [PATHS] => {
                    let length = u32::from_le_bytes(self.array()?) as usize;
                    if length > GATHERED {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    if encoded.len() + length > most {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    encoded.extend(self.bytes(length)?);
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// The bytes of the whole archive, from here on.
    pub(crate) fn length(mut self) -> io::Result<u64> {
        let mut length = 0;
        while let Some(part) = self.next()? {
            length += match part {
                Part::Raw(bytes) => bytes.len() as u64,
                Part::File { size, .. } => size,
            };
        }
        Ok(length)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.decoder.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.decoder.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
