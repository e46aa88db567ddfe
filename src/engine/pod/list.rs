//! PodSandboxStatus and ListPodSandbox.

use crate::Pods;
use crate::error::EngineError;
use crate::filter::PodFilter;
use crate::snapshot::PodView;
use model::SandboxState;
use std::collections::BTreeMap;

impl Pods {
    /// One pod.
    pub fn pod_status(&self, id: &str) -> Result<PodView, EngineError> {
        let pod = self.core.registry.pod(id)?;
        if pod.state() == SandboxState::Creating {
            return Err(EngineError::NoSuchPod(id.to_owned()));
        }
        Ok(pod.view())
    }

    /// The pods that fit, newest first.
    pub fn list_pods(&self, filter: &PodFilter) -> Vec<PodView> {
        self.core.registry.list_pods(filter)
    }

    /// Verbose details of a pod: one JSON document under `info`, as crictl's users know it.
    pub fn pod_info(&self, id: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let pod = self.core.registry.pod(id)?;
        let record = pod.record();
        let limits = record.limits();
        let info = serde_json::json!({
            "pid": pod.pid().unwrap_or(0),
            "shimPid": pod.supervisor_pid(),
            "processStatus": if record.state == SandboxState::Ready { "running" } else { "deleted" },
            "netNamespaceClosed": record.released,
            "netns": record.netns,
            "cgroup": pod.cgroup.parent().to_string(),
            "runtimeHandler": record.handler,
            "cniResult": record.attachment.as_ref().map(|attachment| &attachment.result),
            "config": record.config,
            "overhead": limits.overhead,
            "resources": limits.resources,
        });
        Ok(BTreeMap::from([("info".to_owned(), info.to_string())]))
    }
}
