//! ContainerStatus and ListContainers.

use crate::error::EngineError;
use crate::view::{ContainerFilter, ContainerView, StateKind, has_labels};
use crate::{Engine, blocking};
use std::collections::BTreeMap;

impl Engine {
    /// One container.
    pub fn container_status(&self, id: &str) -> Result<ContainerView, EngineError> {
        Ok(self.registry.container(id)?.view())
    }

    /// The containers that fit, newest first.
    pub fn list_containers(&self, filter: &ContainerFilter) -> Vec<ContainerView> {
        let mut containers: Vec<ContainerView> = self
            .registry
            .containers()
            .into_iter()
            .map(|container| container.view())
            .filter(|container| filter.id.as_ref().is_none_or(|id| container.id.starts_with(id.as_str())))
            .filter(|container| filter.state.is_none_or(|state| StateKind::of(&container.state) == state))
            .filter(|container| {
                filter.sandbox_id.as_ref().is_none_or(|id| container.sandbox_id.starts_with(id.as_str()))
            })
            .filter(|container| has_labels(&filter.labels, &container.config.labels))
            .collect();
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        containers
    }

    /// Verbose details of a container: one JSON document under `info`, with the members that crictl's users know.
    pub async fn container_info(&self, id: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let container = self.registry.container(id)?;
        let path = container.pod.files.spec(&container.id);
        let spec: serde_json::Value = blocking("reading a runtime spec", move || {
            let bytes = std::fs::read(&path).map_err(EngineError::io("read", &path))?;
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
        });
        Ok(BTreeMap::from([("info".to_owned(), info.to_string())]))
    }
}
