//! Reading the records: every pod and container that there is, also from the durable copy where the runtime
//! record is damaged.

use super::names;
use crate::Recovery;
use crate::error::{EngineError, chain};
use crate::in_memory::{Container, Pod};
use crate::mirror::{Key, Records};
use crate::pod::run::PodTicket;
use crate::record::{self, ContainerRecord, PodFiles, PodRecord, Record};
use crate::room::REMOVED;
use model::{ContainerId, SandboxId, SandboxState};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use sys::aside::is_there;

/// What was found.
pub(super) struct Loaded {
    /// The pods that were made, registered with their containers.
    pub(super) pods: Vec<Arc<Pod>>,
    /// Those that the former daemon was still making.
    pub(super) half_pods: Vec<HalfPod>,
    /// By pod, the containers that were under construction: a spec, and no record.
    pub(super) half_made: HashMap<SandboxId, Vec<HalfMade>>,
    /// Every record could be read, so that what has none belongs to nobody.
    pub(super) whole: bool,
    networks: net::Configurations,
}

/// A pod that the former daemon was still making, and its name until it is taken down.
pub(super) struct HalfPod {
    pub(super) pod: Arc<Pod>,
    pub(super) name: PodTicket,
}

/// A container of which there is a spec, and no record: it was being made or removed, or somebody has deleted the record.
#[derive(Clone)]
pub(super) struct HalfMade {
    pub(super) id: ContainerId,
    /// Its durable record.
    pub(super) copy: Option<Box<ContainerRecord>>,
}

impl Recovery {
    /// Registers every pod and container on record.
    pub(super) fn load(&self, durable: &Records) -> Result<Loaded, EngineError> {
        let mut loaded = Loaded {
            pods: Vec::new(),
            half_pods: Vec::new(),
            half_made: HashMap::new(),
            whole: true,
            networks: net::Configurations::default(),
        };
        for name in names(&self.core.paths.pods())? {
            let files = PodFiles::new(&self.core.paths, &name);
            if name.starts_with(REMOVED) {
                self.core.trash.discard(files.dir().to_path_buf());
                continue;
            }
            if !fs::symlink_metadata(files.dir()).is_ok_and(|found| found.is_dir()) {
                tracing::warn!(path = %files.dir().display(), "what is no directory of a pod is left alone");
                continue;
            }
            let copy = durable.get(&Key::Pod(SandboxId::new(name.as_str())));
            match record::load::<PodRecord>(&files.pod()).or_else(|| from_copy(&files.pod(), &name, copy)) {
                Some(record) => self.load_pod(record, durable, &mut loaded),
                None if is_damaged(&files.pod()) => loaded.whole = false,
                // The daemon died before it wrote the first record, and so before it made anything else.
                None => self.core.trash.discard(files.dir().to_path_buf()),
            }
        }
        self.load_unlisted(durable, &mut loaded);
        self.load_strays(&mut loaded)?;
        Ok(loaded)
    }

    /// Containers of pods that are there, of which nothing but a durable record is.
    fn load_unlisted(&self, durable: &Records, loaded: &mut Loaded) {
        for (key, bytes) in durable {
            let Key::Container(id) = key else { continue };
            if self.core.registry.any_container(id).is_some() {
                continue;
            }
            let Ok(record) = record::decode::<ContainerRecord>(bytes) else { continue };
            let files = PodFiles::new(&self.core.paths, &record.sandbox_id);
            let is_damaged = is_damaged(&files.container(id)) || record::cannot_list(&files.containers());
            let half_made = loaded.half_made.entry(record.sandbox_id.clone()).or_default();
            if !is_damaged && half_made.iter().all(|half| half.id != *id) {
                half_made.push(HalfMade { id: id.clone(), copy: Some(Box::new(record)) });
            }
        }
    }

    pub(super) fn load_pod(&self, mut record: PodRecord, durable: &Records, loaded: &mut Loaded) {
        if let Some(attachment) = record.attachment.as_mut().and_then(Arc::get_mut) {
            loaded.networks.share(attachment);
        }
        let id = record.id.clone();
        let pod = match Pod::new(record, &self.core.paths) {
            Ok(pod) => pod,
            Err(error) => {
                tracing::error!(pod_id = %id, error = chain(&error), "a pod is left aside");
                loaded.whole = false;
                return;
            }
        };
        if let Err(error) = self.pods.protect(&pod, &self.core.live()) {
            tracing::warn!(pod_id = %id, error = chain(&error), "the mode of the pod's directory is not repaired");
        }
        let record = pod.record();
        if !record.selinux_level.is_empty() {
            // Nobody else has touched the pod yet.
            let _ = pod.level.set(self.core.labels.reserve(&record.selinux_level));
        }
        if !record.released {
            self.core.tree.remember(&record.cgroups);
        }
        self.take_name(&pod, record, loaded);
        self.core.registry.add_pod(pod.clone());
        self.load_containers(&pod, durable, loaded);
    }

    fn load_containers(&self, pod: &Arc<Pod>, durable: &Records, loaded: &mut Loaded) {
        let (files, dir) = (&pod.files, pod.files.containers());
        if record::cannot_list(&dir) {
            tracing::error!(pod_id = %pod.id, path = %dir.display(), "a pod's containers are left aside: they cannot be \
                listed");
            loaded.whole = false;
            return;
        }
        let found = names(&dir).unwrap_or_default();
        for name in found.iter().filter(|name| sys::fs::is_temporary(name.as_ref())) {
            // A record that was being written when the daemon was killed.
            if let Err(error) = record::remove(&dir.join(name)) {
                tracing::warn!(error = chain(&error), "half a record is left");
            }
        }
        let copy = |id: &ContainerId| durable.get(&Key::Container(id.clone()));
        for id in found.iter().filter_map(|name| name.strip_suffix(".spec")).map(ContainerId::new) {
            let path = files.container(&id);
            if let Some(record) = record::load::<ContainerRecord>(&path) {
                self.load_container(record, pod);
            } else if !is_damaged(&path) {
                let copy = copy(&id).and_then(|bytes| record::decode(bytes).ok()).map(Box::new);
                loaded.half_made.entry(pod.id.clone()).or_default().push(HalfMade { id, copy });
            } else if let Some(record) = from_copy(&path, &id, copy(&id)) {
                self.load_container(record, pod);
            } else {
                loaded.whole = false;
            }
        }
        // After a reboot the durable copies came back without specs.
        let records = found.iter().map(|name| name.strip_suffix(".bad").unwrap_or(name));
        for id in records.filter_map(|name| name.strip_suffix(".json")).map(ContainerId::new) {
            if self.core.registry.any_container(&id).is_some() {
                continue;
            }
            let path = files.container(&id);
            match record::load::<ContainerRecord>(&path).or_else(|| from_copy(&path, &id, copy(&id))) {
                Some(record) => drop(self.load_container(record, pod)),
                None => loaded.whole = false,
            }
        }
    }

    /// Has the pod hold its name again; until it is taken down, where it was only half made.
    fn take_name(&self, pod: &Arc<Pod>, record: PodRecord, loaded: &mut Loaded) {
        let (name, holds) = (record.config.metadata.clone(), (record.config, record.handler));
        if pod.state() == SandboxState::Creating {
            let name = self.pods.names.adopt_half(&name, holds, &pod.id);
            loaded.half_pods.push(HalfPod { pod: pod.clone(), name });
        } else {
            self.pods.names.adopt(name, holds, &pod.id);
            loaded.pods.push(pod.clone());
        }
    }

    pub(super) fn load_container(&self, record: ContainerRecord, pod: &Arc<Pod>) -> Arc<Container> {
        let key = (record.sandbox_id.clone(), record.config.metadata.clone());
        self.containers.names.adopt(key, record.config.clone(), &record.id);
        self.core.images.hold_rootfs(&record.id, &record.rootfs);
        for volume in &record.image_volumes {
            self.core.images.hold_rootfs(&record.id, &volume.rootfs);
        }
        let container = Container::new(record, pod.clone());
        container.publish();
        self.core.registry.add_container(container.clone());
        container
    }
}

/// Whether a record that is not to be had is there all the same, or was set aside.
pub(super) fn is_damaged(path: &Path) -> bool {
    is_there(path) || is_there(&sys::aside::name(path))
}

/// The durable copy of a record that is damaged or lost, which takes its place.
pub(super) fn from_copy<T: Record>(path: &Path, id: &str, copy: Option<&Vec<u8>>) -> Option<T> {
    let record = record::decode(copy?).ok()?;
    tracing::warn!(path = %path.display(), "a record is taken from its durable copy");
    if let Err(error) = record::save(path, id, &record) {
        tracing::error!(path = %path.display(), error = chain(&error), "the durable copy is used, but not written");
    }
    Some(record)
}
