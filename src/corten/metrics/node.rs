//! Whether the node can have pods: its conditions, the room on its disks, records that are not durable. Asked when scraped,
//! and by `/readyz`.

use engine::Engine;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use rustix::fs::{StatVfs, statvfs};
use std::path::PathBuf;
use std::sync::Arc;

/// With less room than this the next record or log may not fit.
const LEAST_BYTES: u64 = 16 << 20;
/// The same for files.
const LEAST_INODES: u64 = 64;

/// What there is to look at.
#[derive(Clone)]
pub(crate) struct Node {
    engine: Arc<Engine>,
    /// What lies on each filesystem, and where.
    places: [(&'static str, PathBuf); 3],
}

impl Node {
    pub(crate) fn new(engine: Arc<Engine>, config: &crate::config::Config) -> Self {
        let places = [
            ("state", config.state_dir.clone()),
            ("data", config.data_dir.clone()),
            ("images", config.images.root.clone()),
        ];
        Self { engine, places }
    }

    /// What keeps the node from having pods now; nothing where it can. Blocks on the disks.
    pub(crate) fn problems(&self) -> Vec<String> {
        let status = self.engine.status();
        let mut problems = Vec::new();
        problems.extend(status.unfit.map(|unfit| format!("the runtime is not ready: {unfit}")));
        if !status.network.ready {
            problems.push(format!("the network is not ready: {}", status.network.message));
        }
        for (name, path) in &self.places {
            let place = format!("{name} in {}", path.display());
            match statvfs(path) {
                Ok(found) => problems.extend(short(&found).map(|what| format!("{place}: {what}"))),
                Err(error) => problems.push(format!("{place}: {error}")),
            }
        }
        match self.engine.gauges_of_records().not_durable {
            0 => {}
            count => problems
                .push(format!("{} could not be written to the disk", engine::counted(count, "record"))),
        }
        problems
    }
}

/// What a filesystem has too little of.
fn short(found: &StatVfs) -> Option<String> {
    let bytes = found.f_bavail.saturating_mul(found.f_frsize);
    if bytes < LEAST_BYTES {
        return Some(format!("{} left", engine::counted(bytes, "byte")));
    }
    // Some filesystems count no inodes.
    let has_none = found.f_files > 0 && found.f_favail < LEAST_INODES;
    has_none.then(|| format!("{} left", engine::counted(found.f_favail, "inode")))
}

/// Exports it.
pub(crate) struct NodeCollector {
    node: Node,
    runtime: IntGauge,
    network: IntGauge,
    size: IntGaugeVec,
    available: IntGaugeVec,
    reserved: IntGaugeVec,
    inodes: IntGaugeVec,
}

impl NodeCollector {
    /// # Errors
    /// A name that Prometheus does not allow.
    pub(crate) fn new(node: Node) -> Result<Self, prometheus::Error> {
        let by = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["filesystem"]);
        Ok(Self {
            node,
            runtime: IntGauge::new("corten_runtime_ready", "1 while the condition RuntimeReady holds.")?,
            network: IntGauge::new("corten_network_ready", "1 while the condition NetworkReady holds.")?,
            size: by(
                "corten_filesystem_size_bytes",
                "Size of the filesystem on which state, data or images lie.",
            )?,
            available: by("corten_filesystem_available_bytes", "Room that is left on it.")?,
            reserved: by("corten_filesystem_reserved_bytes", "Room that it keeps back beyond that.")?,
            inodes: by("corten_filesystem_available_inodes", "Inodes that are left on it.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [&self.runtime, &self.network, &self.size, &self.available, &self.reserved, &self.inodes]
    }

    fn refresh(&self) {
        let status = self.node.engine.status();
        self.runtime.set(i64::from(status.unfit.is_none()));
        self.network.set(i64::from(status.network.ready));
        for (name, path) in &self.node.places {
            let Ok(found) = statvfs(path) else { continue };
            let bytes = |blocks: u64| clamp(blocks.saturating_mul(found.f_frsize));
            self.size.with_label_values(&[name]).set(bytes(found.f_blocks));
            self.available.with_label_values(&[name]).set(bytes(found.f_bavail));
            self.reserved.with_label_values(&[name]).set(bytes(found.f_bfree.saturating_sub(found.f_bavail)));
            self.inodes.with_label_values(&[name]).set(clamp(found.f_favail));
        }
    }
}

impl Collector for NodeCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_is_short_of_bytes_or_of_inodes() {
        let root = statvfs("/proc/self/exe").unwrap();
        let with = |bytes: u64, inodes: u64| StatVfs {
            f_frsize: 1,
            f_bavail: bytes,
            f_files: 1000,
            f_favail: inodes,
            ..root
        };
        assert_eq!(short(&with(LEAST_BYTES, LEAST_INODES)), None);
        assert_eq!(short(&with(5, LEAST_INODES)).as_deref(), Some("5 bytes left"));
        assert_eq!(short(&with(LEAST_BYTES, 3)).as_deref(), Some("3 inodes left"));
        assert_eq!(short(&StatVfs { f_files: 0, ..with(LEAST_BYTES, 0) }), None, "it counts none");
    }
}
