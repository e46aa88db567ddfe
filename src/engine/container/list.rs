//! ContainerStatus and ListContainers.

use crate::error::{EngineError, chain};
use crate::limits;
use crate::objects::Container;
use crate::view::{ContainerFilter, ContainerView, StateKind, has_labels};
use crate::{Engine, blocking};
use model::{ContainerState, OomScore};
use std::collections::BTreeMap;

impl Engine {
    /// One container, with the limits that the kernel has.
    pub fn container_status(&self, id: &str) -> Result<ContainerView, EngineError> {
        Ok(self.shown(&*self.registry.container(id)?))
    }

    /// The containers of a pod, newest first, with the limits that the kernel has.
    pub fn container_statuses(&self, pod: &str) -> Vec<ContainerView> {
        let mut containers: Vec<ContainerView> = self
            .registry
            .containers_of(pod)
            .iter()
            .filter(|container| container.is_published())
            .map(|container| self.shown(container))
            .collect();
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        containers
    }

    pub(crate) fn shown(&self, container: &Container) -> ContainerView {
        let mut view = container.view();
        if matches!(view.state, ContainerState::Exited { .. }) {
            return view;
        }
        let score = |pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?;
            OomScore::new(text.trim().parse().ok()?).ok()
        };
        let force = self
            .cgroup_limits(&view.resources)
            .and_then(|like| Ok(self.cgroups.limits(&container.cgroup(), &like)?));
        match force {
            Ok(force) => view.resources = limits::actual(&view.resources, &force, view.pid.and_then(score)),
            Err(error) => {
                tracing::warn!(container_id = %view.id, error = chain(&error), "limits cannot be read back");
            }
        }
        view
    }

    /// The containers that fit, newest first.
    pub fn list_containers(&self, filter: &ContainerFilter) -> Vec<ContainerView> {
        let found = match &filter.sandbox_id {
            Some(pod) => self.registry.containers_below(pod),
            None => self.registry.containers(),
        };
        let mut containers: Vec<ContainerView> = found
            .iter()
            .map(|container| container.view())
            .filter(|container| filter.id.as_ref().is_none_or(|id| container.id.starts_with(id.as_str())))
            .filter(|container| filter.state.is_none_or(|state| StateKind::of(&container.state) == state))
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
            "updateAnnotations": record.updated.map(|updated| updated.annotations).unwrap_or_default(),
        });
        Ok(BTreeMap::from([("info".to_owned(), info.to_string())]))
    }
}
