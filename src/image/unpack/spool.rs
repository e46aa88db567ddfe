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
    let mut archive = Archive::new(inflated(BufReader::with_capacity(BUFFER, input))?);
    let (mut files, mut links) = (HashMap::new(), Vec::new());
    let (mut entries, mut bytes) = (0, 0);
    while let Some(entry) = archive.next().map_err(|error| problem(error, entries == 0))? {
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

/// Whether the file begins as an archive, whatever it is called.
pub(crate) fn is_archive(file: File) -> bool {
    inflated(BufReader::with_capacity(BUFFER, file)).is_ok_and(|reader| Archive::new(reader).next().is_ok())
}

/// The archive in what may be compressed, as its first bytes say.
fn inflated<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>, UnpackError> {
    Ok(match Compression::of(input.fill_buf().map_err(TarError::from)?) {
        Compression::None => Box::new(input),
        Compression::Gzip => {
            Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(input)))
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(UnpackError::Inflate)?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
    })
}

/// Something whose first block is no header is not damaged, but something else.
fn problem(error: TarError, first: bool) -> UnpackError {
    match error {
        TarError::Checksum | TarError::Number(_) if first => UnpackError::NoArchive,
        TarError::Read(source) if first && source.kind() == std::io::ErrorKind::UnexpectedEof => {
            UnpackError::NoArchive
        }
        other => other.into(),
    }
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
