//! Durable copies of the records, for what must be known after a reboot has wiped the runtime state: which pods
//! existed, so that they are listed as not ready and their networks are released.
//!
//! Records change on the path of every request and the disk is slow, so a task of its own carries them over in
//! batches. What the batch of the last moments lacks after a power loss is gone with the machine's processes. What is not
//! gone with them has its record on the disk first: plugins of networks keep addresses in files that outlive a boot.

mod key;
mod queue;

use crate::error::EngineError;
use crate::state_version;
pub(crate) use key::Key;
use key::TABLES;
use prometheus::IntGauge;
use queue::{Batch, Queue};
use redb::{Database, ReadableDatabase, ReadableTable, TableError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use sys::aside::Wanted;
use sys::fs::Reserve;
use tokio::sync::oneshot;

/// What a commit takes.
const RESERVE: u64 = 1 << 20;

/// Records by what they are of.
pub(crate) type Records = BTreeMap<Key, Vec<u8>>;

/// The durable copies.
pub(crate) struct Mirror {
    queue: Arc<Queue>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Mirror {
    /// Opens the store and returns what it holds; a damaged one is set aside and a new one made, also where something else
    /// than a file lies. `unwritten` tells how many records could not be written.
    pub(crate) fn open(path: &Path, unwritten: IntGauge) -> Result<(Self, Records), EngineError> {
        recognise(path)?;
        if Wanted::File.is_missed_at(path) {
            set_aside(path, "it is no file")?;
        }
        let loaded = std::panic::catch_unwind(|| load(path));
        let (database, records) = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(redb::Error::Io(source))) if !matches!(source.kind(), std::io::ErrorKind::InvalidData) => {
                return Err(failed("open", redb::Error::Io(source)));
            }
            damaged => {
                let error = damaged.ok().and_then(Result::err).map(|error| error.to_string());
                set_aside(path, error.as_deref().unwrap_or("reading it failed"))?;
                load(path).map_err(|error| failed("make", error))?
            }
        };
        check(&records, path)?;
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

    pub(crate) fn put(&self, key: Key, record: Vec<u8>) {
        self.queue.put(key, record);
    }

    /// The same at once, with whatever else waits; tells when it is on the disk, and ends without where that has refused it.
    pub(crate) fn put_now(&self, key: Key, record: Vec<u8>) -> oneshot::Receiver<()> {
        self.queue.put_now(key, record)
    }

    pub(crate) fn delete(&self, key: Key) {
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

fn set_aside(path: &Path, error: &str) -> Result<(), EngineError> {
    let aside = path.with_extension(format!("redb.bad-{}", crate::now()));
    tracing::error!(path = %path.display(), error, aside = %aside.display(), "the damaged state store is set aside");
    std::fs::rename(path, &aside).map_err(EngineError::io("set aside", path))
}

/// Refuses a store with a record of another version, and changes nothing.
pub(crate) fn recognise(path: &Path) -> Result<(), EngineError> {
    if Wanted::File.is_missed_at(path) {
        return Ok(());
    }
    // The database asserts on some kinds of damage. To open it for writing would change it.
    match std::panic::catch_unwind(|| peek(path)) {
        Ok(Ok(records)) => check(&records, path),
        _ => Ok(()),
    }
}

/// Refuses records of another version.
fn check(records: &Records, path: &Path) -> Result<(), EngineError> {
    records.values().try_for_each(|bytes| state_version::check(bytes, path))
}

/// What the store holds, where that can be told without a repair.
fn peek(path: &Path) -> Result<Records, redb::Error> {
    records(&builder().open_read_only(path)?)
}

fn load(path: &Path) -> Result<(Database, Records), redb::Error> {
    let database = builder().create(path)?;
    let records = records(&database)?;
    Ok((database, records))
}

fn records(database: &impl ReadableDatabase) -> Result<Records, redb::Error> {
    let mut records = BTreeMap::new();
    let transaction = database.begin_read()?;
    for table in TABLES {
        let rows = match transaction.open_table(table) {
            Err(TableError::TableDoesNotExist(_)) => continue,
            rows => rows?,
        };
        for row in rows.iter()? {
            let (name, value) = row?;
            if let Some(key) = Key::at(table, name.value()) {
                records.insert(key, value.value().to_owned());
            }
        }
    }
    Ok(records)
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
            crate::record::FAILURES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
    for (key, record) in batch {
        let (table, name) = key.place();
        let mut table = transaction.open_table(table)?;
        match record {
            Some(record) => drop(table.insert(name, record.as_slice())?),
            None => drop(table.remove(name)?),
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Makes a store as builds before 0.1.0 did, with one record.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn write_former(path: &Path, key: &str) {
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("records");
    let database = builder().create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(key, b"{\"version\":3}".as_slice()).unwrap();
    transaction.commit().unwrap();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{ContainerId, SandboxId};

    fn open(path: &Path) -> Result<(Mirror, Records), EngineError> {
        Mirror::open(path, IntGauge::new("unwritten", "unwritten").unwrap())
    }

    #[test]
    fn what_is_put_is_there_after_reopening_and_what_is_deleted_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let (mirror, records) = open(&path).unwrap();
        assert!(records.is_empty());
        let pod = |id: &str| Key::Pod(SandboxId::new(id));
        let container = |id: &str| Key::Container(ContainerId::new(id));
        mirror.put(pod("a"), b"1".to_vec());
        mirror.put(pod("b"), b"2".to_vec());
        mirror.put(container("b"), b"3".to_vec());
        mirror.put(Key::PodRanges, b"4".to_vec());
        mirror.delete(pod("a"));
        drop(mirror);
        let (_mirror, records) = open(&path).unwrap();
        let kept =
            [(pod("b"), b"2".to_vec()), (container("b"), b"3".to_vec()), (Key::PodRanges, b"4".to_vec())];
        assert_eq!(records.into_iter().collect::<Vec<_>>(), kept);
    }

    #[test]
    fn what_is_put_now_is_on_the_disk_when_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (path, taken) = (dir.path().join("state.redb"), dir.path().join("copy.redb"));
        let (mirror, _) = open(&path).unwrap();
        let pod = |id: &str| Key::Pod(SandboxId::new(id));
        mirror.put(pod("before"), b"1".to_vec());
        mirror.put_now(pod("now"), b"2".to_vec()).blocking_recv().unwrap();
        // What a loss of power at this moment would leave.
        std::fs::copy(&path, &taken).unwrap();
        let (_, records) = open(&taken).unwrap();
        assert_eq!(records, [(pod("before"), b"1".to_vec()), (pod("now"), b"2".to_vec())].into());
        // What is deleted before it is written keeps nobody waiting.
        let told = mirror.put_now(pod("brief"), b"3".to_vec());
        mirror.delete(pod("brief"));
        let _ = told.blocking_recv();
    }

    #[test]
    fn a_store_with_a_record_of_a_newer_release_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let (mirror, _) = open(&path).unwrap();
        mirror.put(Key::Pod(SandboxId::new("a")), b"corten pod 2\n{}".to_vec());
        drop(mirror);
        let files = || -> Vec<_> {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            files.sort();
            files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect()
        };
        let before = files();
        assert!(matches!(open(&path), Err(EngineError::OtherState { found: 2, .. })));
        assert!(files() == before, "the store is not what it was");
    }

    #[test]
    fn a_store_of_a_build_before_the_first_release_is_recognised() {
        let open_former = |key: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state.redb");
            write_former(&path, key);
            let before = std::fs::read(&path).unwrap();
            let opened = open(&path).map(|(_, records)| records);
            assert!(
                opened.is_ok() || std::fs::read(&path).unwrap() == before,
                "the store is not what it was"
            );
            opened
        };
        for key in ["pod/a", "container/b"] {
            assert!(matches!(open_former(key), Err(EngineError::OtherState { found: 0, .. })), "{key}");
        }
        assert!(open_former("runtime/pod-cidrs").unwrap().is_empty(), "there is no pod to be lost");
    }

    #[test]
    fn what_is_no_store_is_set_aside_and_the_node_serves() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        use std::os::unix::fs::symlink;
        let fifo =
            |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).map_err(std::io::Error::from);
        type Make<'a> = &'a dyn Fn(&Path) -> std::io::Result<()>;
        let kinds: [(&str, Make<'_>); 6] = [
            ("a damaged one", &|path| std::fs::write(path, [0x5a; 5000])),
            ("a directory", &|path| std::fs::create_dir_all(path.join("full"))),
            ("a link to nothing", &|path| symlink("/nowhere/at/all", path)),
            ("a link to itself", &|path| symlink(path, path)),
            ("a fifo", &fifo),
            ("a socket", &|path| std::os::unix::net::UnixListener::bind(path).map(drop)),
        ];
        for (kind, make) in kinds {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state.redb");
            make(&path).unwrap();
            // Room for a full disk is no reason to wait either.
            fifo(&path.with_extension("reserve")).unwrap();
            let (mirror, records) = open(&path).unwrap();
            assert!(records.is_empty(), "{kind}");
            mirror.put(Key::PodRanges, b"1".to_vec());
            drop(mirror);
            let aside =
                |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("state.redb.bad-");
            assert!(std::fs::read_dir(dir.path()).unwrap().flatten().any(aside), "{kind}");
            assert_eq!(open(&path).unwrap().1.len(), 1, "{kind}: the new one is kept");
        }
    }
}
