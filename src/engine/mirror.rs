//! Durable copies of the records, for what must be known after a reboot has wiped the runtime state: which pods
//! existed, so that they are listed as not ready and their networks are released.
//!
//! Records change on the path of every request and the disk is slow, so a task of its own carries them over in
//! batches. What the batch of the last moments lacks after a power loss is gone with the machine's processes.

mod queue;

use crate::error::EngineError;
use prometheus::IntGauge;
use queue::{Batch, Queue};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use sys::fs::Reserve;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// What a commit takes.
const RESERVE: u64 = 1 << 20;

/// Records by key.
pub(crate) type Records = BTreeMap<String, Vec<u8>>;

/// The durable copies.
pub(crate) struct Mirror {
    queue: Arc<Queue>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Mirror {
    /// Opens the store and returns what it holds; a damaged one is set aside and a new one made. `unwritten` tells how
    /// many records could not be written.
    pub(crate) fn open(path: &Path, unwritten: IntGauge) -> Result<(Self, Records), EngineError> {
        // The database asserts on some kinds of damage.
        let loaded = std::panic::catch_unwind(|| load(path));
        let (database, records) = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(redb::Error::Io(source))) if !matches!(source.kind(), std::io::ErrorKind::InvalidData) => {
                return Err(failed("open", redb::Error::Io(source)));
            }
            damaged => {
                let error = damaged.ok().and_then(Result::err).map(|error| error.to_string());
                let aside = path.with_extension(format!("redb.bad-{}", crate::now()));
                tracing::error!(path = %path.display(), error, aside = %aside.display(),
                    "the damaged state store is set aside");
                std::fs::rename(path, &aside).map_err(EngineError::io("set aside", path))?;
                load(path).map_err(|error| failed("make", error))?
            }
        };
        let queue = Arc::new(Queue::new(records.keys().cloned()));
        let mut store = Store::new(path, database, unwritten);
        let changes = queue.clone();
        let writer = std::thread::Builder::new()
            .name("mirror".into())
            .stack_size(256 << 10)
            .spawn(move || changes.write(|batch| store.commit(batch)))
            .map_err(EngineError::io("start the writer of", path))?;
        Ok((Self { queue, writer: Some(writer) }, records))
    }

    pub(crate) fn put(&self, key: String, record: Vec<u8>) {
        self.queue.put(key, record);
    }

    pub(crate) fn delete(&self, key: String) {
        self.queue.delete(key);
    }
}

impl Drop for Mirror {
    /// Writes what is waiting.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn failed(operation: &'static str, error: redb::Error) -> EngineError {
    EngineError::Store { operation, source: Box::new(error) }
}

fn load(path: &Path) -> Result<(Database, Records), redb::Error> {
    let database = builder().create(path)?;
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
    let mut records = BTreeMap::new();
    for row in database.begin_read()?.open_table(RECORDS)?.iter()? {
        let (key, value) = row?;
        records.insert(key.value().to_owned(), value.value().to_owned());
    }
    Ok((database, records))
}

/// The file. After an error of the disk redb wants it opened again.
struct Store {
    path: std::path::PathBuf,
    database: Option<Database>,
    /// Room for a commit on a full disk: what is removed must not come back.
    reserve: Reserve,
    unwritten: IntGauge,
}

impl Store {
    fn new(path: &Path, database: Database, unwritten: IntGauge) -> Self {
        let store = Self {
            path: path.to_owned(),
            database: Some(database),
            reserve: Reserve::new(path.with_extension("reserve"), RESERVE),
            unwritten,
        };
        store.hold();
        store
    }

    fn hold(&self) {
        if let Err(error) = self.reserve.hold() {
            tracing::debug!(%error, "there is no room for the reserve");
        }
    }

    /// Writes the batch, all or nothing; whether it did.
    fn commit(&mut self, batch: &Batch) -> bool {
        let mut done = self.attempt(batch);
        if done.as_ref().is_err_and(is_full) && self.reserve.release() {
            done = self.attempt(batch);
        }
        self.hold();
        failpoint::pass!("engine.mirror.committed");
        let lacking = if done.is_ok() { 0 } else { batch.len() };
        self.unwritten.set(i64::try_from(lacking).unwrap_or(i64::MAX));
        let failed = |error: redb::Error| {
            tracing::error!(%error, "durable copies of records could not be written: a crash now would lose \
                {lacking} records");
        };
        done.map_err(failed).is_ok()
    }

    fn attempt(&mut self, batch: &Batch) -> Result<(), redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => builder().create(&self.path)?,
        };
        commit(&database, batch)?;
        self.database = Some(database);
        Ok(())
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    // The records of a node are few: a small cache keeps the daemon small.
    builder.set_cache_size(1 << 20);
    builder
}

fn is_full(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, redb::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded))
}

fn commit(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for (key, record) in batch {
            match record {
                Some(record) => drop(table.insert(key.as_str(), record.as_slice())?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(path: &Path) -> Result<(Mirror, Records), EngineError> {
        Mirror::open(path, IntGauge::new("unwritten", "unwritten").unwrap())
    }

    #[test]
    fn what_is_put_is_there_after_reopening_and_what_is_deleted_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let (mirror, records) = open(&path).unwrap();
        assert!(records.is_empty());
        mirror.put("pod/a".into(), b"1".to_vec());
        mirror.put("pod/b".into(), b"2".to_vec());
        mirror.delete("pod/a".into());
        drop(mirror);
        let (_mirror, records) = open(&path).unwrap();
        assert_eq!(records.into_iter().collect::<Vec<_>>(), [("pod/b".to_owned(), b"2".to_vec())]);
    }

    #[test]
    fn a_damaged_store_is_set_aside_and_the_node_serves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        std::fs::write(&path, [0x5a; 5000]).unwrap();
        let (_mirror, records) = open(&path).unwrap();
        assert!(records.is_empty());
        let aside =
            |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("state.redb.bad-");
        assert!(std::fs::read_dir(dir.path()).unwrap().flatten().any(aside));
    }
}
