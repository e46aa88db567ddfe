//! Whether a layer is still what was unpacked.

use super::assembled::Assembled;
use super::tree::{Timeless, Tree};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::store::{Check, LayerRecord, Store};
use crate::unpack::{self, Limits, UnpackError};
use std::io::ErrorKind;

/// Most differences that are told of one layer.
const TOLD: usize = 8;

/// What is wrong with the layer; `None` when nothing is. Blocks, reads every file of it, and makes a tree of as many
/// empty files beside it for a while.
///
/// # Errors
/// When it cannot be checked: that says nothing about the layer.
pub(super) fn damage(store: &Store, id: &Digest, record: &LayerRecord) -> Result<Option<String>, ImageError> {
    let directory = store.layout.layer(id);
    if !directory.is_dir() {
        return Ok(Some("its directory is missing".to_owned()));
    }
    match &record.check {
        Check::Nothing | Check::Tree(_) => Ok(Some(
            "it was unpacked by an earlier version, which recorded nothing that this one checks it by"
                .to_owned(),
        )),
        Check::Sum(expected) => {
            let actual = Tree::open(&directory)?.digest()?;
            Ok((actual != *expected).then(|| "its tree is not what was unpacked".to_owned()))
        }
        Check::Outline { .. } => by_outline(store, id),
    }
}

/// The digest of a layer's tree: for layers whose archive cannot be made again. Blocks, and reads all of it.
pub(crate) fn tree_digest(directory: &std::path::Path) -> Result<Digest, ImageError> {
    Tree::open(directory)?.digest()
}

fn by_outline(store: &Store, id: &Digest) -> Result<Option<String>, ImageError> {
    let (outline, directory) = (store.layout.outline(id), store.layout.layer(id));
    let mut archive = match Assembled::open(&outline, &directory) {
        Ok(archive) => archive,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Some("the outline of its archive is missing".to_owned()));
        }
        Err(error) => return Err(ImageError::io("open", outline)(error)),
    };
    let twin = store.layout.ingest_dir()?;
    let unpacked = match unpack::hollow(&mut archive, twin.path(), Some(&directory), Limits::none()) {
        Ok(unpacked) => unpacked,
        Err(UnpackError::Tar(_)) => return Ok(Some("the outline of its archive is damaged".to_owned())),
        Err(source) => {
            let reference = "from the store".to_owned();
            return Err(ImageError::Layer { reference, digest: id.clone(), source });
        }
    };
    if archive.unreadable {
        return Ok(Some("the outline of its archive is damaged".to_owned()));
    }
    let timeless = Timeless::of(&unpacked.implied);
    let mut found = Tree::open(&directory)?.differences(&Tree::open(twin.path())?, &timeless, TOLD)?;
    if found.is_empty() {
        found = std::mem::take(&mut archive.damaged);
    }
    if archive.digest() != *id && found.is_empty() {
        found.push("a file has other content than was unpacked, with the same size and time".to_owned());
    }
    Ok((!found.is_empty()).then(|| found.join("; ")))
}
