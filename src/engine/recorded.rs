//! What the records of a daemon say that does not run: its pods, and what of the host is theirs.

use crate::record::{self, PodFiles, PodRecord};
use crate::settings::Paths;
use std::fs;
use std::path::PathBuf;

/// A pod on record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RecordedPod {
    /// Its id, which is the name of its directory.
    pub id: String,
    /// Namespace and name; empty where its record cannot be read.
    pub name: String,
    /// The pin of its network namespace.
    pub netns: Option<PathBuf>,
    /// The ids of its containers.
    pub containers: Vec<String>,
    /// Cgroup directories that were made for it.
    pub cgroups: Vec<PathBuf>,
}

impl RecordedPod {
    /// Whether its record can be read.
    pub fn is_readable(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Paths {
    /// Every pod that has a directory, readable or not. Nothing is changed, and no daemon asked.
    pub fn recorded(&self) -> Vec<RecordedPod> {
        let mut pods: Vec<RecordedPod> = names(&self.pods())
            .filter(|name| !name.starts_with('.'))
            .map(|id| self.recorded_pod(id))
            .collect();
        pods.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        pods
    }

    fn recorded_pod(&self, id: String) -> RecordedPod {
        let files = PodFiles::new(self, &id);
        let bytes = record::bytes(&files.pod()).unwrap_or_default();
        let record = record::decode::<PodRecord>(&bytes).ok();
        let named = |record: &PodRecord| {
            let metadata = &record.config.metadata;
            format!("{}/{}", metadata.namespace, metadata.name)
        };
        let mut containers: Vec<String> = names(&files.containers())
            .filter_map(|name| name.split_once('.').map(|(id, _)| id.to_owned()))
            .filter(|id| !id.is_empty())
            .collect();
        containers.sort();
        containers.dedup();
        RecordedPod {
            id,
            name: record.as_ref().map(named).unwrap_or_default(),
            netns: record.as_ref().and_then(|record| record.netns.clone()),
            containers,
            cgroups: record.map(|record| record.cgroups).unwrap_or_default(),
        }
    }
}

/// The names in a directory; none where it is not there.
fn names(directory: &std::path::Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
