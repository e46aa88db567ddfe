//! How much a container has written to its own layer. Counting means walking, so it is done behind the scenes: one
//! layer at a time, each at most a twentieth of the time, and a reader gets the last count with its time.

use super::Stats;
use crate::error::EngineError;
use crate::in_memory::Container;
use crate::now;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// So many entries are counted while a reader waits, the first time.
const AT_ONCE: u64 = 512;
/// A count that takes a second is not repeated before twenty have passed.
pub(super) const SHARE: u32 = 20;

/// A count and when it was made, in Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// When it was counted; the time of the question where it has not been counted yet.
    pub timestamp: i64,
    /// The filesystem that the layer is on.
    pub mountpoint: Arc<Path>,
    /// Bytes and inodes; `None` as long as the first count of a large layer takes.
    pub counted: Option<(u64, u64)>,
}

/// What is known of one layer.
#[derive(Default)]
pub(crate) struct Layer(Mutex<Known>);

#[derive(Default)]
struct Known {
    counted: Option<(u64, u64, i64)>,
    /// When it was counted, and how long that took.
    last: Option<(Instant, Duration)>,
    queued: bool,
    /// Nothing will be written any more.
    settled: bool,
}

/// Layers that wait to be counted.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    containers: VecDeque<Weak<Container>>,
    running: bool,
}

impl Stats {
    /// The last count of a container's layer. Blocks for a small first count only; an old one is renewed behind.
    pub(super) fn layer(self: &Arc<Self>, container: &Arc<Container>) -> LayerUsage {
        let ended = container.has_ended();
        let mut known = lock(&container.layer.0);
        if known.counted.is_none() && !known.queued {
            count(self, container, &mut known, AT_ONCE, ended);
        }
        let fresh = self.limits.layer_usage_age();
        let old = known.last.is_none_or(|(at, took)| at.elapsed() >= fresh.max(took * SHARE));
        if old && !known.queued && !known.settled {
            known.queued = true;
            self.enqueue(container);
        }
        let (counted, timestamp) = match known.counted {
            Some((bytes, inodes, at)) => (Some((bytes, inodes)), at),
            None => (None, now()),
        };
        LayerUsage { timestamp, mountpoint: self.layers.clone(), counted }
    }

    fn enqueue(self: &Arc<Self>, container: &Arc<Container>) {
        let mut queue = lock(&self.waiting.0);
        queue.containers.push_back(Arc::downgrade(container));
        if !std::mem::replace(&mut queue.running, true) {
            let reader = Arc::downgrade(self);
            tokio::task::spawn_blocking(move || count_waiting(&reader));
        }
    }
}

/// Counts what waits until nothing does.
fn count_waiting(reader: &Weak<Stats>) {
    while let Some(reader) = reader.upgrade() {
        let next = {
            let mut queue = lock(&reader.waiting.0);
            let next = queue.containers.pop_front();
            queue.running = next.is_some();
            next
        };
        let Some(next) = next else { return };
        if let Some(container) = next.upgrade() {
            let ended = container.has_ended();
            // Readers get the old count meanwhile.
            let mut renewed = Known { queued: true, ..Known::default() };
            count(&reader, &container, &mut renewed, u64::MAX, ended);
            let mut known = lock(&container.layer.0);
            renewed.queued = false;
            renewed.counted = renewed.counted.or(known.counted);
            *known = renewed;
        }
    }
}

fn count(reader: &Stats, container: &Container, known: &mut Known, most: u64, ended: bool) {
    let begin = Instant::now();
    match measure(&reader.layers.join(container.id.as_str()).join("upper"), most) {
        Ok(Some((bytes, inodes))) => {
            known.counted = Some((bytes, inodes, now()));
            known.last = Some((begin, begin.elapsed()));
            known.settled = ended;
        }
        // Too many for now.
        Ok(None) => {}
        Err(error) => {
            tracing::debug!(container_id = %container.id, error = crate::chain(&error), "a layer is not counted");
            known.last = Some((begin, begin.elapsed()));
        }
    }
}

/// What a tree takes on its filesystem, in bytes of allocated blocks and inodes, itself included and hard links
/// once; `None` when there are more than `most` entries.
pub(super) fn measure(root: &Path, most: u64) -> Result<Option<(u64, u64)>, EngineError> {
    let usage = sys::tree::usage(root, most).map_err(|error| EngineError::io("open", root)(error.into()))?;
    Ok(usage.map(|usage| (usage.bytes, usage.inodes)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once_and_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let empty = measure(dir.path(), u64::MAX).unwrap().unwrap();
        assert_eq!(empty.1, 1);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), vec![7; 100_000]).unwrap();
        std::fs::hard_link(at("a/b/file"), at("again")).unwrap();
        std::os::unix::fs::symlink("/usr", at("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path(), at("a/around")).unwrap();
        let (bytes, inodes) = measure(dir.path(), u64::MAX).unwrap().unwrap();
        assert_eq!(inodes, 1 + 2 + 1 + 2, "itself, directories, the file once, links");
        assert!((100_000..400_000).contains(&(bytes - empty.0)), "{bytes}");
        assert_eq!(measure(dir.path(), 3).unwrap(), None, "too many");
        assert!(measure(&at("absent"), 3).is_err());
    }
}
