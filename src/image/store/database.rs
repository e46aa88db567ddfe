//! The records on the disk (redb: ACID, one file).

use super::rows::{ImageRecord, LayerRecord};
use crate::digest::Digest;
use crate::error::ImageError;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use sys::fs::Reserve;
use sys::sync::lock;

const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images");
const LAYERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("layers");
/// The records of a node are a few hundred KiB.
const CACHE: usize = 4 << 20;

/// What a commit takes, with the largest config in a record.
const RESERVE: u64 = 4 << 20;
/// The file that takes that room, beside the database.
pub(super) const RESERVE_NAME: &str = "reserve";

/// Images, and layers by diff id.
pub(crate) type Records = (Vec<ImageRecord>, Vec<(Digest, LayerRecord)>);

/// The open database. After an error of the disk redb wants it opened again, which the next change does.
pub(crate) struct Database {
    path: PathBuf,
    redb: Mutex<Option<redb::Database>>,
    reserve: Reserve,
}

fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> ImageError {
    move |error| ImageError::Database { operation, source: Box::new(error.into()) }
}

fn encode(id: &str, record: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(record).map_err(|source| ImageError::Record { id: id.to_owned(), source })
}

impl Database {
    /// Opens the file, or makes it. The reserve is given up for what must be written on a full disk.
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let reserve = Reserve::new(path.with_file_name(RESERVE_NAME), RESERVE);
        let database = Self { path: path.to_owned(), redb: Mutex::default(), reserve };
        database.change(true, |transaction| {
            transaction.open_table(IMAGES).map_err(failed("open table"))?;
            transaction.open_table(LAYERS).map_err(failed("open table")).map(drop)
        })?;
        database.hold_reserve();
        Ok(database)
    }

    /// Takes up again what was given up, where there is room.
    pub(crate) fn hold_reserve(&self) {
        if let Err(error) = self.reserve.hold() {
            tracing::debug!(%error, "there is no room for the reserve");
        }
    }

    /// Changes records, all or none, and on the disk; with the reserve's room where that is allowed and needed.
    fn change(
        &self,
        may_use_reserve: bool,
        work: impl Fn(&redb::WriteTransaction) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut redb = lock(&self.redb);
        let mut attempt = || -> Result<(), ImageError> {
            let open = match redb.take() {
                Some(open) => open,
                None => {
                    redb::Builder::new().set_cache_size(CACHE).create(&self.path).map_err(failed("open"))?
                }
            };
            let transaction = open.begin_write().map_err(failed("begin"))?;
            work(&transaction)?;
            transaction.commit().map_err(failed("commit"))?;
            *redb = Some(open);
            Ok(())
        };
        match attempt() {
            Err(error) if may_use_reserve && error.is_full_disk() && self.reserve.release() => {
                let done = attempt();
                self.hold_reserve();
                done
            }
            done => done,
        }
    }

    /// Every image and layer; records that do not decode are an error.
    pub(crate) fn read(&self) -> Result<Records, ImageError> {
        let images = self.table::<ImageRecord>(IMAGES)?.into_iter().map(|(_, record)| record).collect();
        let mut layers = Vec::new();
        for (id, record) in self.table::<LayerRecord>(LAYERS)? {
            // A key that is no digest was never written by this code and must not become a path.
            if let Ok(digest) = Digest::parse(&id) {
                layers.push((digest, record));
            }
        }
        Ok((images, layers))
    }

    fn table<T: DeserializeOwned>(
        &self,
        definition: TableDefinition<'_, &str, &[u8]>,
    ) -> Result<Vec<(String, T)>, ImageError> {
        let redb = lock(&self.redb);
        let Some(redb) = redb.as_ref() else { return Ok(Vec::new()) };
        let transaction = redb.begin_read().map_err(failed("begin"))?;
        let table = transaction.open_table(definition).map_err(failed("open table"))?;
        let mut records = Vec::new();
        for row in table.iter().map_err(failed("read"))? {
            let (key, value) = row.map_err(failed("read"))?;
            let id = key.value().to_owned();
            let record = serde_json::from_slice(value.value())
                .map_err(|source| ImageError::Record { id: id.clone(), source })?;
            records.push((id, record));
        }
        Ok(records)
    }

    /// Writes the records, all or none, and to the disk.
    pub(crate) fn write(
        &self,
        images: &[ImageRecord],
        layers: &[(Digest, LayerRecord)],
    ) -> Result<(), ImageError> {
        self.put(false, images, layers)
    }

    /// Writes a record of something that is to be removed: on a full disk too.
    pub(crate) fn hide(&self, image: &ImageRecord) -> Result<(), ImageError> {
        self.put(true, std::slice::from_ref(image), &[])
    }

    fn put(
        &self,
        may_use_reserve: bool,
        images: &[ImageRecord],
        layers: &[(Digest, LayerRecord)],
    ) -> Result<(), ImageError> {
        self.change(may_use_reserve, |transaction| {
            let mut table = transaction.open_table(IMAGES).map_err(failed("open table"))?;
            for record in images {
                let value = encode(&record.id, record)?;
                table.insert(record.id.as_str(), value.as_slice()).map_err(failed("write"))?;
            }
            let mut table = transaction.open_table(LAYERS).map_err(failed("open table"))?;
            for (id, record) in layers {
                let value = encode(id.as_str(), record)?;
                table.insert(id.as_str(), value.as_slice()).map_err(failed("write"))?;
            }
            Ok(())
        })
    }

    /// Removes records, all or none: on a full disk too.
    pub(crate) fn remove(&self, images: &[String], layers: &[Digest]) -> Result<(), ImageError> {
        self.change(true, |transaction| {
            let mut table = transaction.open_table(IMAGES).map_err(failed("open table"))?;
            for id in images {
                table.remove(id.as_str()).map_err(failed("remove"))?;
            }
            let mut table = transaction.open_table(LAYERS).map_err(failed("open table"))?;
            for id in layers {
                table.remove(id.as_str()).map_err(failed("remove"))?;
            }
            Ok(())
        })
    }
}
