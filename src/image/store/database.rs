//! The records on the disk (redb: ACID, one file).

use super::record::{ImageRecord, LayerRecord};
use crate::digest::Digest;
use crate::error::ImageError;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images");
const LAYERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("layers");
/// The records of a node are a few hundred KiB.
const CACHE: usize = 4 << 20;

/// Images, and layers by diff id.
pub(crate) type Records = (Vec<ImageRecord>, Vec<(Digest, LayerRecord)>);

/// The open database.
pub(crate) struct Database {
    redb: redb::Database,
}

fn failed<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> ImageError {
    move |error| ImageError::Database { operation, source: Box::new(error.into()) }
}

fn encode(id: &str, record: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(record).map_err(|source| ImageError::Record { id: id.to_owned(), source })
}

impl Database {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE);
        let redb = builder.create(path).map_err(failed("open"))?;
        let transaction = redb.begin_write().map_err(failed("begin"))?;
        transaction.open_table(IMAGES).map_err(failed("open table"))?;
        transaction.open_table(LAYERS).map_err(failed("open table"))?;
        transaction.commit().map_err(failed("commit"))?;
        Ok(Self { redb })
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
        let transaction = self.redb.begin_read().map_err(failed("begin"))?;
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
        let transaction = self.redb.begin_write().map_err(failed("begin"))?;
        {
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
        }
        transaction.commit().map_err(failed("commit"))
    }

    /// Removes records, all or none.
    pub(crate) fn remove(&self, images: &[String], layers: &[Digest]) -> Result<(), ImageError> {
        let transaction = self.redb.begin_write().map_err(failed("begin"))?;
        {
            let mut table = transaction.open_table(IMAGES).map_err(failed("open table"))?;
            for id in images {
                table.remove(id.as_str()).map_err(failed("remove"))?;
            }
            let mut table = transaction.open_table(LAYERS).map_err(failed("open table"))?;
            for id in layers {
                table.remove(id.as_str()).map_err(failed("remove"))?;
            }
        }
        transaction.commit().map_err(failed("commit"))
    }
}
