//! The RPCs by name, and how loud each is in the log.

/// How often a method is called, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The kubelet asks again and again: logged at debug.
    Polling,
    /// Changes something: logged at info.
    Mutation,
}

use Class::{Mutation, Polling};

/// Every method of both services.
pub(crate) const METHODS: [(&str, Class); 43] = [
    ("/runtime.v1.RuntimeService/Version", Polling),
    ("/runtime.v1.RuntimeService/RunPodSandbox", Mutation),
    ("/runtime.v1.RuntimeService/StopPodSandbox", Mutation),
    ("/runtime.v1.RuntimeService/RemovePodSandbox", Mutation),
    ("/runtime.v1.RuntimeService/PodSandboxStatus", Polling),
    ("/runtime.v1.RuntimeService/ListPodSandbox", Polling),
    ("/runtime.v1.RuntimeService/StreamPodSandboxes", Polling),
    ("/runtime.v1.RuntimeService/CreateContainer", Mutation),
    ("/runtime.v1.RuntimeService/StartContainer", Mutation),
    ("/runtime.v1.RuntimeService/StopContainer", Mutation),
    ("/runtime.v1.RuntimeService/RemoveContainer", Mutation),
    ("/runtime.v1.RuntimeService/ListContainers", Polling),
    ("/runtime.v1.RuntimeService/StreamContainers", Polling),
    ("/runtime.v1.RuntimeService/ContainerStatus", Polling),
    ("/runtime.v1.RuntimeService/UpdateContainerResources", Mutation),
    ("/runtime.v1.RuntimeService/ReopenContainerLog", Mutation),
    ("/runtime.v1.RuntimeService/ExecSync", Polling),
    ("/runtime.v1.RuntimeService/Exec", Mutation),
    ("/runtime.v1.RuntimeService/Attach", Mutation),
    ("/runtime.v1.RuntimeService/PortForward", Mutation),
    ("/runtime.v1.RuntimeService/ContainerStats", Polling),
    ("/runtime.v1.RuntimeService/ListContainerStats", Polling),
    ("/runtime.v1.RuntimeService/StreamContainerStats", Polling),
    ("/runtime.v1.RuntimeService/PodSandboxStats", Polling),
    ("/runtime.v1.RuntimeService/ListPodSandboxStats", Polling),
    ("/runtime.v1.RuntimeService/StreamPodSandboxStats", Polling),
    ("/runtime.v1.RuntimeService/UpdateRuntimeConfig", Mutation),
    ("/runtime.v1.RuntimeService/Status", Polling),
    ("/runtime.v1.RuntimeService/CheckpointContainer", Mutation),
    ("/runtime.v1.RuntimeService/CheckpointPod", Mutation),
    ("/runtime.v1.RuntimeService/RestorePod", Mutation),
    ("/runtime.v1.RuntimeService/GetContainerEvents", Polling),
    ("/runtime.v1.RuntimeService/ListMetricDescriptors", Polling),
    ("/runtime.v1.RuntimeService/ListPodSandboxMetrics", Polling),
    ("/runtime.v1.RuntimeService/StreamPodSandboxMetrics", Polling),
    ("/runtime.v1.RuntimeService/RuntimeConfig", Polling),
    ("/runtime.v1.RuntimeService/UpdatePodSandboxResources", Mutation),
    ("/runtime.v1.ImageService/ListImages", Polling),
    ("/runtime.v1.ImageService/StreamImages", Polling),
    ("/runtime.v1.ImageService/ImageStatus", Polling),
    ("/runtime.v1.ImageService/PullImage", Mutation),
    ("/runtime.v1.ImageService/RemoveImage", Mutation),
    ("/runtime.v1.ImageService/ImageFsInfo", Polling),
];

/// Those of them that this version does not have: they are counted with what is no method at all.
pub(crate) const LACKING: [&str; 3] = [
    "/runtime.v1.RuntimeService/CheckpointContainer",
    "/runtime.v1.RuntimeService/CheckpointPod",
    "/runtime.v1.RuntimeService/RestorePod",
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rpc_is_in_the_table() {
        let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
        let files = protox::compile(["api.proto"], [proto]).unwrap();
        let expected: BTreeSet<String> = files
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
            .flat_map(|(package, service)| {
                service.method.iter().map(move |rpc| format!("/{package}.{}/{}", service.name(), rpc.name()))
            })
            .collect();
        let known: BTreeSet<String> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(known, expected);
        assert!(LACKING.iter().all(|path| known.contains(*path)));
    }
}
