//! After a reboot the runtime state is gone: the durable copies say which pods and containers there were.

use crate::Recovery;
use crate::error::{EngineError, chain};
use crate::mirror::{Key, Records};
use crate::record::{self, ContainerRecord, PodFiles, PodRecord, Record};
use model::SandboxState;
use std::collections::BTreeSet;
use sys::aside::is_there;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl Recovery {
    /// Brings the runtime records and the durable ones together: after a reboot the durable ones count, before one
    /// the runtime records do.
    pub(super) fn restore(&self, durable: &Records) -> Result<(), EngineError> {
        let boot = std::fs::read(BOOT_ID).map_err(EngineError::io("read", BOOT_ID))?;
        let mark = self.core.paths.state.join("boot-id");
        self.set_aside_no_pods(durable)?;
        if sys::regular::read(&mark, 64).is_ok_and(|written| written == boot) {
            self.drop_removed(durable);
            return Ok(());
        }
        // Pods come first in the order of the keys, and so have their directories before their containers are written.
        for (key, bytes) in durable {
            match key {
                Key::Pod(_) => self.restore_one(key, bytes, |record| self.restore_pod(record)),
                Key::Container(_) => self.restore_one(key, bytes, |record| self.restore_container(&record)),
                Key::PodRanges => {}
            }
        }
        sys::fs::write_atomic(&mark, &boot, 0o600).map_err(EngineError::sys(format!("write {mark:?}")))
    }

    /// A pod whose directory somebody has replaced by something else is one whose directory somebody has deleted.
    fn set_aside_no_pods(&self, durable: &Records) -> Result<(), EngineError> {
        for id in durable.keys().filter_map(|key| match key {
            Key::Pod(id) => Some(id),
            _ => None,
        }) {
            let files = PodFiles::new(&self.core.paths, id);
            let dir = files.dir();
            if std::fs::symlink_metadata(dir).is_ok_and(|found| !found.is_dir()) {
                tracing::error!(pod_id = %id, path = %dir.display(), "what is no directory of a pod is set aside");
                sys::aside::set_aside(dir).map_err(EngineError::sys(format!("set aside {dir:?}")))?;
            }
        }
        Ok(())
    }

    fn restore_one<T: Record>(
        &self,
        key: &Key,
        bytes: &[u8],
        restore: impl FnOnce(T) -> Result<(), EngineError>,
    ) {
        match record::decode(bytes).map(restore) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(?key, error = chain(&error), "a durable record is not restored");
            }
            Err(error) => {
                tracing::error!(?key, %error, "a durable record is damaged and dropped");
                self.core.mirror.delete(key.clone());
            }
        }
    }

    fn restore_pod(&self, mut record: PodRecord) -> Result<(), EngineError> {
        let files = PodFiles::new(&self.core.paths, &record.id);
        if is_there(&files.pod()) {
            return Ok(());
        }
        record.state = SandboxState::NotReady;
        for dir in [files.containers(), files.exits()] {
            std::fs::create_dir_all(&dir).map_err(EngineError::io("make the directory", &dir))?;
        }
        record::save(&files.pod(), &record.id, &record).map(drop)
    }

    fn restore_container(&self, record: &ContainerRecord) -> Result<(), EngineError> {
        let files = PodFiles::new(&self.core.paths, &record.sandbox_id);
        let path = files.container(&record.id);
        if is_there(&path) || !is_there(&files.containers()) {
            return Ok(());
        }
        record::save(&path, &record.id, record).map(drop)
    }

    /// The daemon may have died before a removal became durable. Where a pod's supervisor lives, its records were not
    /// removed by a daemon: it is listed, so that it can be taken down.
    fn drop_removed(&self, durable: &Records) {
        let mut lost = BTreeSet::new();
        for (key, bytes) in durable {
            let there = match key {
                Key::Pod(id) if is_there(PodFiles::new(&self.core.paths, id).dir()) => true,
                Key::Pod(id) => {
                    let record = record::decode::<PodRecord>(bytes);
                    let lives = record.is_ok_and(|record| !record.released && self.pods.launcher.lives(id));
                    if lives {
                        tracing::error!(pod_id = %id, "the records of a pod are lost while it lives: they are taken \
                            from their durable copies, and it is not ready");
                        self.restore_one(key, bytes, |record| self.restore_pod(record));
                        lost.insert(id);
                    }
                    lives
                }
                Key::Container(id) => record::decode::<ContainerRecord>(bytes).is_ok_and(|record| {
                    let files = PodFiles::new(&self.core.paths, &record.sandbox_id);
                    let lost = lost.contains(&record.sandbox_id);
                    if lost {
                        self.restore_one(key, bytes, |record| self.restore_container(&record));
                    }
                    // What came back after a reboot has no spec.
                    lost || is_there(&files.spec(id))
                        || is_there(&files.container(id))
                        || record::cannot_list(&files.containers())
                }),
                Key::PodRanges => true,
            };
            if !there {
                self.core.mirror.delete(key.clone());
            }
        }
    }
}
