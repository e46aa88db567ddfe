//! Durable copies of the records, for what must be known after a reboot has wiped the runtime state: which pods
//! existed, so that they are listed as not ready and their networks are released.
//!
//! Records change on the path of every request and the disk is slow, so a task of its own carries them over in
//! batches. What the batch of the last moments lacks after a power loss is gone with the machine's processes.

use crate::error::EngineError;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const SETTLE: Duration = Duration::from_millis(300);

/// Records by key.
pub(crate) type Records = BTreeMap<String, Vec<u8>>;

enum Change {
    Put(String, Vec<u8>),
    Delete(String),
}

/// The durable copies.
pub(crate) struct Mirror {
    changes: Option<Sender<Change>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Mirror {
    /// Opens the store and returns what it holds; a damaged one is set aside and a new one made.
    pub(crate) fn open(path: &Path) -> Result<(Self, Records), EngineError> {
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
        let (changes, incoming) = channel();
        let writer = std::thread::Builder::new()
            .name("mirror".into())
            .stack_size(256 << 10)
            .spawn(move || run(&database, &incoming))
            .map_err(EngineError::io("start the writer of", path))?;
        Ok((Self { changes: Some(changes), writer: Some(writer) }, records))
    }

    pub(crate) fn put(&self, key: String, record: Vec<u8>) {
        self.send(Change::Put(key, record));
    }

    pub(crate) fn delete(&self, key: String) {
        self.send(Change::Delete(key));
    }

    fn send(&self, change: Change) {
        if self.changes.as_ref().is_some_and(|changes| changes.send(change).is_err()) {
            tracing::error!("the writer of the durable state is gone: a reboot would forget this change");
        }
    }
}

impl Drop for Mirror {
    /// Writes what is waiting.
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn failed(operation: &'static str, error: redb::Error) -> EngineError {
    EngineError::Store { operation, source: Box::new(error) }
}

fn load(path: &Path) -> Result<(Database, Records), redb::Error> {
    // The records of a node are few: a small cache keeps the daemon small.
    let database = redb::Builder::new().set_cache_size(1 << 20).create(path)?;
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

fn run(database: &Database, incoming: &std::sync::mpsc::Receiver<Change>) {
    let mut batch = BTreeMap::new();
    while let Ok(first) = incoming.recv() {
        let mut add = |change| match change {
            Change::Put(key, record) => batch.insert(key, Some(record)),
            Change::Delete(key) => batch.insert(key, None),
        };
        add(first);
        let deadline = std::time::Instant::now() + SETTLE;
        while let Ok(change) =
            incoming.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
        {
            add(change);
        }
        match commit(database, &batch) {
            Ok(()) => batch.clear(),
            // The batch is kept, and goes with the next change.
            Err(error) => {
                tracing::error!(%error, records = batch.len(), "durable copies of records could not be written");
            }
        }
    }
}

fn commit(database: &Database, batch: &BTreeMap<String, Option<Vec<u8>>>) -> Result<(), redb::Error> {
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

    #[test]
    fn what_is_put_is_there_after_reopening_and_what_is_deleted_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let (mirror, records) = Mirror::open(&path).unwrap();
        assert!(records.is_empty());
        mirror.put("pod/a".into(), b"1".to_vec());
        mirror.put("pod/b".into(), b"2".to_vec());
        mirror.delete("pod/a".into());
        drop(mirror);
        let (_mirror, records) = Mirror::open(&path).unwrap();
        assert_eq!(records.into_iter().collect::<Vec<_>>(), [("pod/b".to_owned(), b"2".to_vec())]);
    }

    #[test]
    fn a_damaged_store_is_set_aside_and_the_node_serves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        std::fs::write(&path, [0x5a; 5000]).unwrap();
        let (_mirror, records) = Mirror::open(&path).unwrap();
        assert!(records.is_empty());
        let aside =
            |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("state.redb.bad-");
        assert!(std::fs::read_dir(dir.path()).unwrap().flatten().any(aside));
    }
}
