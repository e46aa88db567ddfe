//! Opening the store: whatever a crash or a bad disk left, the node serves.

use super::layout::Layout;
use super::{Database, ImageRecord, Index, LayerRecord, Store, partial};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use arc_swap::ArcSwap;
use std::path::Path;
use sys::aside::{Wanted, is_there};
use sys::tree::Trash;

/// Opens the store and makes it consistent: unfinished work is removed, a damaged database is put aside,
/// images with a layer missing (or written shortly before a power loss) are dropped and can be pulled again.
pub(crate) fn open(config: ImageConfig) -> Result<Store, ImageError> {
    let layout = Layout::create(&config.root)?;
    let trash = Trash::new(|path, error| {
        tracing::warn!(path = %path.display(), %error, "what is of no use is not removed: the next removal tries again, and the next start");
    });
    for path in layout.left_over()? {
        trash.discard(path);
    }
    let (database, images, layers) = open_database(&layout.database())?;
    failpoint::pass!("image.start.opened");
    let boot_id = boot_id();
    let mut index = Index::default();
    let untrusted = take_layers(&mut index, layers, &layout, &boot_id);
    let unfinished = partial::load(&layout, &boot_id, config.keep_unfinished());
    for (id, layer, _) in &unfinished {
        index.layers.entry(id.clone()).or_insert_with(|| layer.clone());
    }
    let mut dropped = Vec::new();
    for record in images {
        let whole = record.layers.iter().all(|id| index.layers.contains_key(id))
            && (record.fixup == 0 || layout.fixup(&record.id).is_dir());
        if whole {
            index.publish(record, &layout, &config);
        } else {
            tracing::warn!(image = %record.id, "an image is incomplete and has to be pulled again");
            dropped.push(record.id);
        }
    }
    if !dropped.is_empty() || !untrusted.is_empty() {
        database.remove(&dropped, &untrusted)?;
        for id in &untrusted {
            layout.set_aside(&layout.layer(id))?.into_iter().for_each(|aside| trash.discard(aside));
        }
    }
    Ok(Store {
        layout,
        trash,
        config: ArcSwap::from_pointee(config),
        boot_id,
        database,
        index: std::sync::Mutex::new(index),
        leases: std::sync::Mutex::default(),
        partials: std::sync::Mutex::default(),
        beside: std::sync::Mutex::default(),
        growing: std::sync::Mutex::default(),
        condemned: std::sync::Mutex::default(),
        unfinished: std::sync::Mutex::new(unfinished.into_iter().map(|(id, _, since)| (id, since)).collect()),
        holds: std::sync::Mutex::default(),
        held_layers: std::sync::Mutex::default(),
        sweeping: std::sync::Mutex::default(),
        changing: std::sync::Mutex::default(),
    })
}

/// Takes the layers that are there and whole; the others.
fn take_layers(
    index: &mut Index,
    layers: Vec<(Digest, LayerRecord)>,
    layout: &Layout,
    boot_id: &str,
) -> Vec<Digest> {
    let mut untrusted = Vec::new();
    for (id, layer) in layers {
        let written = layer.boot_id.as_ref().is_none_or(|boot| boot == boot_id);
        if written && layout.layer(&id).is_dir() {
            index.layers.insert(id, layer);
        } else {
            tracing::warn!(layer = %id, written, "a layer is missing or was not on the disk before a power loss");
            untrusted.push(id);
        }
    }
    untrusted
}

type Contents = (Database, Vec<ImageRecord>, Vec<(Digest, LayerRecord)>);

fn open_database(path: &Path) -> Result<Contents, ImageError> {
    let attempt = || {
        // The database checks its file with assertions too.
        std::panic::catch_unwind(|| {
            let database = Database::open(path)?;
            let (images, layers) = database.read()?;
            Ok((database, images, layers))
        })
        .unwrap_or(Err(ImageError::Interrupted { operation: "opening the image database" }))
    };
    let opened = if Wanted::File.is_missed_at(path) {
        let found = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
        Err(ImageError::io("open", path)(found))
    } else {
        attempt()
    };
    match opened {
        Ok(contents) => Ok(contents),
        Err(error) if is_held(&error) => Err(error),
        Err(error) => {
            let aside = aside(path);
            tracing::error!(%error, aside = %aside.display(), "the image database is damaged: starting with an empty one");
            if is_there(path) {
                std::fs::rename(path, &aside).map_err(ImageError::io("put aside", path))?;
            }
            attempt()
        }
    }
}

/// Another process has the file open: it is not damaged.
fn is_held(error: &ImageError) -> bool {
    matches!(error, ImageError::Database { source, .. } if matches!(**source, redb::Error::DatabaseAlreadyOpen))
}

fn aside(path: &Path) -> std::path::PathBuf {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |time| time.as_secs());
    path.with_extension(format!("redb.damaged-{seconds}"))
}

/// Where the kernel tells none, every start counts as a new boot.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| format!("process {}", std::process::id()), |text| text.trim().to_owned())
}
