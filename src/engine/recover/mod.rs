//! Taking over what a former daemon left: pods whose shims live are adopted as they are, pods that it was still
//! making are taken down, and what a reboot has ended is listed as ended.

mod adopt;
mod load;
mod restore;
mod strays;

use crate::error::{EngineError, chain};
use crate::mirror::{Key, Records};
use crate::record::{self, PodRanges};
use crate::{Containers, Core, Pods};
use load::HalfPod;
use std::path::Path;
use std::sync::Arc;

/// Taking over, once in the life of a daemon.
pub(crate) struct Recovery {
    pub(crate) core: Arc<Core>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) pods: Arc<Pods>,
}

impl Recovery {
    /// Recovers what clients ask for first, which talks to shims only. What may wait for plugins and disks goes on
    /// behind.
    ///
    /// # Errors
    /// When the records cannot be listed, or a shim is of a release that this one cannot speak with: nothing may be
    /// tidied up then.
    pub(crate) async fn recover(self: &Arc<Self>, durable: Records) -> Result<(), EngineError> {
        let begin = std::time::Instant::now();
        if let Some(bytes) = durable.get(&Key::PodRanges) {
            self.restore_ranges(bytes);
        }
        self.restore(&durable)?;
        failpoint::pass!("engine.recover.restored");
        let loaded = self.load(&durable)?;
        failpoint::pass!("engine.recover.loaded");
        let count = loaded.pods.len() + loaded.half_pods.len();
        let adoptions = loaded.pods.into_iter().map(|pod| {
            let half_made = loaded.half_made.get(&pod.id).cloned().unwrap_or_default();
            self.adopt_in_time(pod, half_made)
        });
        futures::future::join_all(adoptions).await.into_iter().collect::<Result<(), _>>()?;
        if loaded.whole {
            self.sweep()?;
        }
        failpoint::pass!("engine.recover.swept");
        let _ = self.core.recovered.set((count, begin.elapsed()));
        tracing::info!(pods = count, milliseconds = begin.elapsed().as_millis(), "took over what was there");
        let this = self.clone();
        tokio::spawn(async move { this.tidy(loaded.half_pods, loaded.whole).await });
        Ok(())
    }

    fn restore_ranges(&self, bytes: &[u8]) {
        match record::decode::<PodRanges>(bytes)
            .map(|PodRanges(ranges)| self.core.network.set_pod_cidrs(&ranges))
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the recorded pod ranges are not taken"),
            Err(error) => tracing::warn!(%error, "the recorded pod ranges are damaged"),
        }
    }

    /// Takes down half-made pods and frees what belongs to no pod.
    async fn tidy(self: Arc<Self>, half_made: Vec<HalfPod>, whole: bool) {
        // One whose network hangs keeps no other from its name.
        futures::future::join_all(half_made.into_iter().map(|half| self.take_down(half))).await;
        failpoint::pass!("engine.recover.undone");
        if let Err(error) = self.core.tree.release_default_parent().await {
            tracing::warn!(error = chain(&error), "the parent of pods without one is not freed");
        }
        self.keep_networks();
        if !whole {
            tracing::warn!("records are damaged: nothing that seems to belong to no pod is freed");
            return;
        }
        let images = self.core.images.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = images.sweep() {
                tracing::warn!(error = chain(&error), "unused layers are not all removed");
            }
        });
        // A pod that is being attached is not among the valid ones yet.
        let _alone = self.pods.attaching.write().await;
        let attached: Vec<(String, String)> = self
            .core
            .registry
            .pods()
            .iter()
            .filter(|pod| !pod.is_released())
            .map(|pod| (pod.id.to_string(), net::IFNAME.to_owned()))
            .collect();
        if let Err(error) = Box::pin(self.core.network.gc(&attached)).await {
            tracing::warn!(error = chain(&error), "attachments of lost pods may be left");
        }
        failpoint::pass!("engine.recover.tidied");
    }

    async fn take_down(self: &Arc<Self>, HalfPod { pod, name }: HalfPod) {
        match Box::pin(self.undo(&pod)).await {
            Ok(()) => name.done(),
            Err(error) => {
                let error = name.fail_holding(error);
                tracing::error!(pod_id = %pod.id, error = chain(&error), "a half-made pod is not taken down: \
                    it is listed as not ready until it is removed");
            }
        }
    }

    /// Has the packet rules of pods kept, for those that are there at each time.
    fn keep_networks(&self) {
        let core = Arc::downgrade(&self.core);
        self.core.network.keep(move || {
            let Some(core) = core.upgrade() else { return Vec::new() };
            let pods = core.registry.pods().into_iter().filter(|pod| !pod.is_released());
            let made = pods.map(|pod| pod.record()).map(|record| (record.created_at, record.attachment));
            let mut made: Vec<_> = made.collect();
            made.sort_by_key(|(at, _)| *at);
            made.into_iter().filter_map(|(_, attachment)| attachment).collect()
        });
    }

    /// Deletes writable layers without a record: removed ones whose deletion was cut short, and half-made ones.
    fn sweep(&self) -> Result<(), EngineError> {
        let dir = self.core.paths.layers();
        for name in names(&dir)? {
            if self.core.registry.any_container(&name).is_none() {
                self.core.trash.discard(dir.join(&name));
            }
        }
        Ok(())
    }
}

/// The names in a directory of records.
fn names(dir: &Path) -> Result<Vec<String>, EngineError> {
    let refuse = || EngineError::io("list", dir);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(refuse())? {
        if let Ok(name) = entry.map_err(refuse())?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
