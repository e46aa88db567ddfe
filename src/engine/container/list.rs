//! ContainerStatus and ListContainers.

use crate::error::EngineError;
use crate::filter::ContainerFilter;
use crate::snapshot::ContainerView;
use crate::{Containers, blocking};
use std::collections::BTreeMap;
use std::io::ErrorKind;

impl Containers {
    /// One container, with the limits that the kernel has.
    pub fn container_status(&self, id: &str) -> Result<ContainerView, EngineError> {
        Ok(self.core.limits.shown(&*self.core.registry.container(id)?))
    }

    /// The containers of a pod, newest first, with the limits that the kernel has.
    pub fn container_statuses(&self, pod: &str) -> Vec<ContainerView> {
        self.core.limits.shown_of(&self.core.registry, pod)
    }

    /// The containers that fit, newest first.
    pub fn list_containers(&self, filter: &ContainerFilter) -> Vec<ContainerView> {
        self.core.registry.list_containers(filter)
    }

    /// Verbose details of a container: one JSON document under `info`, with the members that crictl's users know.
    pub async fn container_info(&self, id: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let container = self.core.registry.container(id)?;
        let path = container.pod.files.spec(&container.id);
        let spec: serde_json::Value = blocking("reading a runtime spec", move || {
            let bytes = match crate::record::bytes(&path) {
                // It is being forgotten this moment, and listed still: what is known of it is told.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(serde_json::Value::Null),
                read => read.map_err(EngineError::io("read", &path))?,
            };
            serde_json::from_slice(&bytes).map_err(|source| EngineError::Record {
                operation: "decode",
                id: path.display().to_string(),
                source,
            })
        })
        .await?;
        let record = container.record();
        let info = serde_json::json!({
            "sandboxID": record.sandbox_id,
            "pid": container.pid().unwrap_or(0),
            "snapshotter": "overlayfs",
            "cgroup": container.cgroup().to_string(),
            "runtimeSpec": spec,
            "config": record.config,
            "updateAnnotations": record.updated.map(|updated| updated.annotations).unwrap_or_default(),
        });
        Ok(BTreeMap::from([("info".to_owned(), info.to_string())]))
    }
}
