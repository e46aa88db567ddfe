//! `corten image save`: images into an archive, or a directory with an image layout.

use crate::admin::{Archive, Client};
use crate::error::Error;
use client::PrintError;
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use sys::output::Output;

/// What was saved.
#[derive(Debug, Serialize)]
pub(super) struct Saved {
    output: PathBuf,
    images: Vec<String>,
    /// Layers that are in it uncompressed.
    remade_layers: usize,
}

/// Saves the images.
///
/// # Errors
/// When the daemon refuses, or the place cannot be written: then nothing stays there.
pub(super) async fn run(
    client: &mut Client,
    images: &Vec<String>,
    output: &Path,
    layout: bool,
) -> Result<Saved, Error> {
    if output == Path::new("-") && io::stdout().is_terminal() {
        let source = io::Error::other("an archive is nothing for a terminal: name a file with --output");
        return Err(PrintError::from(source).into());
    }
    let mut archive = client.save(images).await?;
    let saved = Saved { output: output.to_owned(), images: images.clone(), remade_layers: archive.remade };
    if archive.remade > 0 {
        let note = format!(
            "corten: {} saved uncompressed, as the store keeps them no other way: the images' ids stay, their manifests have \
             new digests\n",
            if archive.remade == 1 {
                "a layer is".to_owned()
            } else {
                format!("{} layers are", archive.remade)
            }
        );
        // Nobody may be listening.
        let _ = io::stderr().write_all(note.as_bytes());
    }
    if output == Path::new("-") {
        while let Some(piece) = archive.next().await? {
            io::stdout().write_all(&piece).map_err(PrintError::from)?;
        }
        io::stdout().flush().map_err(PrintError::from)?;
        return Ok(saved);
    }
    if layout {
        directory(&mut archive, output).await?;
        return Ok(saved);
    }
    let refuse = |source| failed(output, source);
    let mut file = Output::create(output).map_err(refuse)?;
    fill(&mut archive, &mut file, output).await?;
    file.finish_durable().map_err(refuse)?;
    Ok(saved)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Output { path: path.to_owned(), source }
}

async fn fill(archive: &mut Archive, file: &mut impl Write, path: &Path) -> Result<(), Error> {
    while let Some(piece) = archive.next().await? {
        file.write_all(&piece).map_err(|source| failed(path, source))?;
    }
    Ok(())
}

/// The archive lies beside the directory until it is whole.
async fn directory(archive: &mut Archive, output: &Path) -> Result<(), Error> {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = output.with_file_name(name);
    let file = File::options().write(true).create_new(true).open(&part);
    let mut file = file.map_err(|source| failed(&part, source))?;
    let made = match fill(archive, &mut file, &part).await {
        Ok(()) => unpack(&part, output),
        Err(error) => Err(error),
    };
    // One that cannot be removed is found by its name.
    let _ = std::fs::remove_file(&part);
    made
}

/// Makes the directory of the archive's files.
fn unpack(part: &Path, output: &Path) -> Result<(), Error> {
    let made = std::fs::create_dir(output).map_err(|source| failed(output, source));
    made?;
    let unpacked = File::open(part).and_then(|file| entries(file, output));
    if unpacked.is_err() {
        // It was made above, and holds half a layout.
        let _ = sys::tree::remove(output);
    }
    unpacked.map_err(|source| failed(output, source))
}

fn entries(file: impl Read, output: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries()? {
        let mut entry = entry?;
        // A layout has no file of Docker's.
        if entry.path()? != Path::new("manifest.json") {
            entry.unpack_in(output)?;
        }
    }
    Ok(())
}
