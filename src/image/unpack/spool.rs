//! An archive whose files are to be looked at in another order than they come in.

use super::error::{TarError, UnpackError};
use super::tar::{Archive, Kind};
use super::tree::clean;
use crate::manifest::Compression;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

/// The most files of an archive of images.
const MAX_FILES: u64 = 100_000;
const BUFFER: usize = 256 << 10;

/// Writes every file of the archive into the directory, under a number; where each is, by its path in the archive.
/// Links lead to the file that they name (as `docker save` once wrote layers that two images share). Gzip and zstd
/// are seen by their first bytes.
pub(crate) fn spool(
    input: &mut dyn Read,
    directory: &Path,
    limit: u64,
) -> Result<HashMap<String, PathBuf>, UnpackError> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let first = input.fill_buf().map_err(TarError::from)?;
    match Compression::of(first) {
        Compression::None => files(input, directory, limit),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(input);
            files(BufReader::with_capacity(BUFFER, decoder), directory, limit)
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(UnpackError::Inflate)?;
            files(BufReader::with_capacity(BUFFER, decoder), directory, limit)
        }
    }
}

fn files(
    reader: impl BufRead,
    directory: &Path,
    limit: u64,
) -> Result<HashMap<String, PathBuf>, UnpackError> {
    let mut archive = Archive::new(reader);
    let (mut files, mut links) = (HashMap::new(), Vec::new());
    let (mut entries, mut bytes) = (0, 0);
    while let Some(entry) = archive.next()? {
        entries += 1;
        if entries > MAX_FILES {
            return Err(UnpackError::Limit { what: "entries", limit: MAX_FILES });
        }
        let name = text(clean(&entry.path)?);
        match entry.kind {
            Kind::File if entry.sparse.is_some() => return Err(TarError::Sparse(name).into()),
            Kind::File => {
                bytes += entry.size;
                if bytes > limit {
                    return Err(UnpackError::Limit { what: "bytes", limit });
                }
                let path = directory.join(entries.to_string());
                let failed = |operation| {
                    let path = path.display().to_string();
                    move |source| UnpackError::Io { operation, path, source }
                };
                let mut file = File::create_new(&path).map_err(failed("create"))?;
                archive.content(|piece| file.write_all(piece).map_err(failed("write")))?;
                files.insert(name, path);
            }
            Kind::SymLink => {
                let above = name.rsplit_once('/').map_or("", |(above, _)| above);
                links.push((name.clone(), joined(above, &text(entry.link))));
            }
            Kind::HardLink => links.push((name, text(clean(&entry.link)?))),
            _ => {}
        }
    }
    for (name, target) in links {
        if let Some(path) = files.get(&target).cloned() {
            files.insert(name, path);
        }
    }
    Ok(files)
}

/// Where a relative link in a directory leads; `..` at the top stays there.
fn joined(above: &str, link: &str) -> String {
    let mut parts: Vec<&str> = above.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
