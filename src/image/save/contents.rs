//! The files of the archive as they are written.

use crate::digest::{Digest, Hasher};
use crate::error::ImageError;
use crate::verify::Assembled;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Writes an archive.
pub(super) struct Contents<'a> {
    archive: tar::Builder<&'a mut dyn Write>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(output: &'a mut dyn Write) -> Self {
        Self { archive: tar::Builder::new(output) }
    }

    pub(super) fn directory(&mut self, path: &str) -> Result<(), ImageError> {
        self.append(path, &header(tar::EntryType::Directory, 0o755, 0), &mut io::empty())
    }

    pub(super) fn document(&mut self, path: &str, value: &serde_json::Value) -> Result<(), ImageError> {
        self.bytes(path, value.to_string().as_bytes())
    }

    pub(super) fn bytes(&mut self, path: &str, mut bytes: &[u8]) -> Result<(), ImageError> {
        self.file(path, bytes.len() as u64, &mut bytes)
    }

    /// A blob of the store.
    pub(super) fn kept(
        &mut self,
        digest: &Digest,
        path: &str,
        from: &Path,
        size: u64,
    ) -> Result<(), ImageError> {
        let file = File::open(from).map_err(ImageError::io("open", from))?;
        let mut reader = Hashed { reader: file, hasher: Hasher::default() };
        self.file(path, size, &mut reader)?;
        let actual = reader.hasher.finish();
        if actual == *digest {
            return Ok(());
        }
        Err(damaged(&format!("blob {digest}"), format!("its content has digest {actual}")))
    }

    /// A layer, made of its outline and its directory.
    pub(super) fn remade(
        &mut self,
        diff_id: &Digest,
        path: &str,
        (outline, directory): (&Path, &Path),
        size: u64,
    ) -> Result<(), ImageError> {
        let mut layer = Assembled::open(outline, directory).map_err(ImageError::io("open", outline))?;
        let written = self.file(path, size, &mut layer);
        let what = format!("layer {diff_id}");
        if layer.unreadable {
            return Err(damaged(&what, "the outline of its archive is damaged".to_owned()));
        }
        written?;
        if let Some(file) = layer.damaged.first() {
            return Err(damaged(&what, file.clone()));
        }
        if layer.digest() == *diff_id {
            return Ok(());
        }
        Err(damaged(&what, "a file has other content than was unpacked".to_owned()))
    }

    pub(super) fn finish(mut self) -> Result<(), ImageError> {
        self.archive.finish().map_err(ImageError::Save)
    }

    fn file(&mut self, path: &str, size: u64, reader: &mut impl Read) -> Result<(), ImageError> {
        self.append(path, &header(tar::EntryType::Regular, 0o644, size), reader)
    }

    fn append(&mut self, path: &str, header: &tar::Header, reader: &mut impl Read) -> Result<(), ImageError> {
        self.archive.append_data(&mut header.clone(), path, reader).map_err(ImageError::Save)
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    // The same images give the same archive.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn damaged(what: &str, problem: String) -> ImageError {
    ImageError::Damaged { what: what.to_owned(), problem }
}

struct Hashed {
    reader: File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
