//! A layer of a test image: a list of entries.

use crate::error::{Context, Error};
use std::path::Path;

/// An entry of a layer.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A file.
    File(Vec<u8>),
    /// A symbolic link.
    Symlink(String),
    /// A hard link to an earlier entry.
    Hardlink(String),
    /// A named pipe.
    Fifo,
}

/// A layer: entries with path, mode and owner, in order.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: Vec<(String, u32, u64, Entry)>,
    plain: bool,
}

impl Layer {
    /// Adds an entry of root's; the path has no leading slash.
    #[must_use]
    pub fn with(self, path: &str, mode: u32, entry: Entry) -> Self {
        self.owned(path, mode, 0, entry)
    }

    /// Adds an entry whose user and group have the same number.
    #[must_use]
    pub fn owned(mut self, path: &str, mode: u32, owner: u64, entry: Entry) -> Self {
        self.entries.push((path.to_owned(), mode, owner, entry));
        self
    }

    /// Pushes the layer without compression.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Unpacks the layer as it is, without a thought of whiteouts.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn unpack(&self, directory: &Path) -> Result<(), Error> {
        let tar = self.tar()?;
        tar::Archive::new(tar.as_slice()).unpack(directory).at("unpack a layer into", directory)
    }

    /// Whether it is pushed without compression.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The layer as an archive.
    ///
    /// # Errors
    /// When a path does not fit into one.
    pub(crate) fn tar(&self) -> Result<Vec<u8>, Error> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, mode, owner, entry) in &self.entries {
            append(&mut builder, path, *mode, *owner, entry).at("archive", path)?;
        }
        builder.into_inner().at("finish", "a layer")
    }
}

fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    owner: u64,
    entry: &Entry,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    match entry {
        Entry::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, format!("{path}/"), std::io::empty())
        }
        Entry::File(bytes) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Entry::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, target)
        }
        Entry::Hardlink(target) => {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, path, target)
        }
        Entry::Fifo => {
            header.set_entry_type(tar::EntryType::Fifo);
            builder.append_data(&mut header, path, std::io::empty())
        }
    }
}
