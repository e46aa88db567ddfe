//! A streaming reader of tar archives that trusts nothing.
//!
//! Written for this purpose because its memory must stay bounded whatever an extended header claims, and
//! because the size of a PAX record must always win over the header's (two readers that disagree there
//! see two archives).

use super::error::TarError;
use super::header::{BLOCK, Header};
use super::outline::Recorder;
use super::pax::Pax;
use super::sparse::{self, Segment};
use std::io::{self, BufRead};

/// The most bytes of one PAX header: room for every xattr that the kernel takes on one file.
const MAX_PAX: u64 = 1 << 20;
/// The most bytes of a GNU long name.
const MAX_NAME: u64 = 64 << 10;
/// The most extended headers of one entry.
const MAX_HEADERS: u32 = 64;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    SymLink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, its content not yet read.
#[derive(Debug)]
pub(super) struct Entry {
    pub kind: Kind,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the file: not zero for files only.
    pub size: u64,
    /// Where the content belongs in a file with holes.
    pub sparse: Option<Vec<Segment>>,
}

/// An archive that is read from front to back.
pub(super) struct Archive<R> {
    reader: R,
    /// Content of the current entry that was not read yet, and the padding behind it.
    content: u64,
    padding: u64,
    outline: Recorder,
    /// Records of PAX headers that there may still be.
    records: u64,
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(reader: R) -> Self {
        Self::recorded(reader, Recorder::default())
    }

    /// Whatever is not the content of a file goes to the recorder too.
    pub(super) fn recorded(reader: R, outline: Recorder) -> Self {
        Self { reader, content: 0, padding: 0, outline, records: u64::MAX }
    }

    /// Takes so many records of PAX headers and no more.
    pub(super) fn limited(self, records: u64) -> Self {
        Self { records, ..self }
    }

    pub(super) fn into_inner(self) -> (R, Recorder) {
        (self.reader, self.outline)
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extended = Extended::default();
        for _ in 0..MAX_HEADERS {
            self.skip()?;
            let Some(block) = self.block()? else { return Ok(None) };
            let header = Header::parse(&block)?;
            match header.kind {
                b'x' | b'X' => {
                    extended.pax = Pax::parse(&self.extended(&header, MAX_PAX)?)?;
                    let left = self.records.checked_sub(extended.pax.count);
                    self.records = left.ok_or(TarError::Records)?;
                }
                // Global headers hold comments in practice; nothing in them is honoured (as in Go's reader).
                b'g' => drop(self.extended(&header, MAX_PAX)?),
                b'L' => extended.path = Some(cut(self.extended(&header, MAX_NAME)?)),
                b'K' => extended.link = Some(cut(self.extended(&header, MAX_NAME)?)),
                b'S' => {
                    let (size, mut map, mut more) = sparse::old(&block)?;
                    while more {
                        let Some(block) = self.block()? else { return Err(TarError::Map) };
                        more = sparse::old_more(&block, &mut map)?;
                    }
                    extended.sparse = Some((size, map));
                    return self.entry(header, extended).map(Some);
                }
                _ => return self.entry(header, extended).map(Some),
            }
        }
        Err(TarError::Headers(MAX_HEADERS))
    }

    /// Hands the current entry's content on, as it comes.
    pub(super) fn content<E: From<TarError>>(
        &mut self,
        take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pass(false, take)
    }

    /// The content that was handed on last is in this file.
    pub(super) fn is_in(&mut self, path: &[u8], size: u64) {
        self.outline.file(path, size);
    }

    fn pass<E: From<TarError>>(
        &mut self,
        record: bool,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.content > 0 {
            let available = self.reader.fill_buf().map_err(TarError::from)?;
            if available.is_empty() {
                return Err(TarError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into());
            }
            let count = usize::try_from(self.content).unwrap_or(usize::MAX).min(available.len());
            take(&available[..count])?;
            if record {
                self.outline.raw(&available[..count]);
            }
            self.reader.consume(count);
            self.content -= count as u64;
        }
        Ok(())
    }

    fn entry(&mut self, header: Header, extended: Extended) -> Result<Entry, TarError> {
        let mut pax = extended.pax;
        let holes = pax.sparse.take();
        let named = holes.as_ref().and_then(|holes| holes.name.clone());
        let path = named.or(pax.path).or(extended.path).unwrap_or(header.path);
        let shown = || String::from_utf8_lossy(&path).chars().take(256).collect::<String>();
        let kind = match header.kind {
            // Before POSIX a directory was a file with a slash at its end.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymLink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(TarError::Type { path: shown(), kind: char::from(other) }),
        };
        // Only files have content; the size of anything else means nothing (as in Go's reader).
        let content = if kind == Kind::File { pax.size.unwrap_or(header.size) } else { 0 };
        self.expect(content)?;
        let sparse = match (holes, kind) {
            (Some(holes), Kind::File) => Some(self.holes(holes)?),
            _ => extended.sparse,
        };
        if let Some((size, map)) = &sparse {
            sparse::check(map, *size, self.content)?;
        }
        let id = |number: u64, field| u32::try_from(number).map_err(|_| TarError::Number(field));
        Ok(Entry {
            kind,
            path,
            link: pax.link.or(extended.link).unwrap_or(header.link),
            mode: header.mode,
            uid: id(pax.uid.unwrap_or(header.uid), "uid")?,
            gid: id(pax.gid.unwrap_or(header.gid), "gid")?,
            mtime: pax.mtime.unwrap_or((header.mtime, 0)),
            device: (header.major, header.minor),
            xattrs: pax.xattrs.into_iter().collect(),
            size: sparse.as_ref().map_or(content, |(size, _)| *size),
            sparse: sparse.map(|(_, map)| map),
        })
    }

    /// Size and map of a file whose PAX header tells of holes; a map in front of the content is read.
    fn holes(&mut self, holes: sparse::Records) -> Result<(u64, Vec<Segment>), TarError> {
        let size = holes.size.ok_or(TarError::Map)?;
        if holes.major == 0 {
            return Ok((size, holes.map));
        }
        let mut map = sparse::Map::default();
        loop {
            let rest = self.content.checked_sub(BLOCK as u64).ok_or(TarError::Map)?;
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? < BLOCK {
                return Err(TarError::Map);
            }
            self.outline.raw(&block);
            self.content = rest;
            if let Some(map) = map.take(&block)? {
                return Ok((size, map));
            }
        }
    }

    fn expect(&mut self, size: u64) -> Result<(), TarError> {
        self.content = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        // A size that no file can have would also overflow the arithmetic of every reader after us.
        if i64::try_from(size).is_err() { Err(TarError::Number("size")) } else { Ok(()) }
    }

    /// The content of an extended header, in memory and therefore bounded.
    fn extended(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>, TarError> {
        if header.size > limit {
            return Err(TarError::ExtendedSize(header.size));
        }
        self.expect(header.size)?;
        let mut content = Vec::new();
        self.pass(true, |piece| {
            content.extend_from_slice(piece);
            Ok::<_, TarError>(())
        })?;
        Ok(content)
    }

    fn skip(&mut self) -> Result<(), TarError> {
        self.pass(true, |_| Ok::<_, TarError>(()))?;
        self.content = std::mem::take(&mut self.padding);
        match self.pass(true, |_| Ok(())) {
            // Some writers leave out what pads the last entry.
            Err(TarError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.content = 0;
                Ok(())
            }
            other => other,
        }
    }

    /// The next block; `None` at the end: a block of zeros, or the end of the stream between entries.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
        self.outline.raw(&block);
        Ok((block.iter().any(|byte| *byte != 0)).then_some(block))
    }

    /// Reads as much of a block as there is.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let count = available.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&available[..count]);
            self.reader.consume(count);
            filled += count;
        }
        Ok(filled)
    }
}

/// What comes in front of an entry.
#[derive(Default)]
struct Extended {
    pax: Pax,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// Size and map of the old format.
    sparse: Option<(u64, Vec<Segment>)>,
}

/// GNU long names end in a zero byte.
fn cut(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}
