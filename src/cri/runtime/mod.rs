//! `RuntimeService`: one file an RPC. Those without a file are not in this version.

mod attach;
mod container_stats;
mod container_status;
mod create_container;
mod exec;
mod exec_sync;
mod get_container_events;
mod list_container_stats;
mod list_containers;
mod list_metric_descriptors;
mod list_pod_sandbox;
mod list_pod_sandbox_metrics;
mod list_pod_sandbox_stats;
mod named;
mod pod_sandbox_stats;
mod pod_sandbox_status;
mod port_forward;
mod remove_container;
mod remove_pod_sandbox;
mod reopen_container_log;
mod run_pod_sandbox;
mod runtime_config;
#[path = "status.rs"]
mod runtime_status;
mod start_container;
mod stop_container;
mod stop_pod_sandbox;
mod stream_container_stats;
mod stream_containers;
mod stream_pod_sandbox_metrics;
mod stream_pod_sandbox_stats;
mod stream_pod_sandboxes;
mod update_container_resources;
mod update_pod_sandbox_resources;
mod update_runtime_config;
mod version;

use crate::proto::runtime_service_server::RuntimeService;
use crate::proto::*;
use crate::status::unimplemented;
use engine::Engine;
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) engine: Arc<Engine>,
    pub(crate) urls: Arc<stream::Urls>,
}

/// The messages of a streaming answer.
type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// Methods that hand their request to the file of their name.
macro_rules! answer {
    ($self:ident, $module:ident, $request:ident) => {
        $module::answer($self, $request.into_inner()).await.map(Response::new)
    };
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    type StreamPodSandboxesStream = Messages<StreamPodSandboxesResponse>;
    type StreamContainersStream = Messages<StreamContainersResponse>;
    type StreamContainerStatsStream = Messages<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Messages<StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Messages<StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Messages<ContainerEventResponse>;

    async fn version(&self, r: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        answer!(self, version, r)
    }

    async fn status(&self, r: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        answer!(self, runtime_status, r)
    }

    async fn runtime_config(
        &self,
        r: Request<RuntimeConfigRequest>,
    ) -> Result<Response<RuntimeConfigResponse>, Status> {
        answer!(self, runtime_config, r)
    }

    async fn update_runtime_config(
        &self,
        r: Request<UpdateRuntimeConfigRequest>,
    ) -> Result<Response<UpdateRuntimeConfigResponse>, Status> {
        answer!(self, update_runtime_config, r)
    }

    async fn run_pod_sandbox(
        &self,
        r: Request<RunPodSandboxRequest>,
    ) -> Result<Response<RunPodSandboxResponse>, Status> {
        answer!(self, run_pod_sandbox, r)
    }

    async fn stop_pod_sandbox(
        &self,
        r: Request<StopPodSandboxRequest>,
    ) -> Result<Response<StopPodSandboxResponse>, Status> {
        answer!(self, stop_pod_sandbox, r)
    }

    async fn remove_pod_sandbox(
        &self,
        r: Request<RemovePodSandboxRequest>,
    ) -> Result<Response<RemovePodSandboxResponse>, Status> {
        answer!(self, remove_pod_sandbox, r)
    }

    async fn pod_sandbox_status(
        &self,
        r: Request<PodSandboxStatusRequest>,
    ) -> Result<Response<PodSandboxStatusResponse>, Status> {
        answer!(self, pod_sandbox_status, r)
    }

    async fn list_pod_sandbox(
        &self,
        r: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        answer!(self, list_pod_sandbox, r)
    }

    async fn stream_pod_sandboxes(
        &self,
        r: Request<StreamPodSandboxesRequest>,
    ) -> Result<Response<Self::StreamPodSandboxesStream>, Status> {
        answer!(self, stream_pod_sandboxes, r)
    }

    async fn create_container(
        &self,
        r: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        answer!(self, create_container, r)
    }

    async fn start_container(
        &self,
        r: Request<StartContainerRequest>,
    ) -> Result<Response<StartContainerResponse>, Status> {
        answer!(self, start_container, r)
    }

    async fn stop_container(
        &self,
        r: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerResponse>, Status> {
        answer!(self, stop_container, r)
    }

    async fn remove_container(
        &self,
        r: Request<RemoveContainerRequest>,
    ) -> Result<Response<RemoveContainerResponse>, Status> {
        answer!(self, remove_container, r)
    }

    async fn container_status(
        &self,
        r: Request<ContainerStatusRequest>,
    ) -> Result<Response<ContainerStatusResponse>, Status> {
        answer!(self, container_status, r)
    }

    async fn list_containers(
        &self,
        r: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        answer!(self, list_containers, r)
    }

    async fn stream_containers(
        &self,
        r: Request<StreamContainersRequest>,
    ) -> Result<Response<Self::StreamContainersStream>, Status> {
        answer!(self, stream_containers, r)
    }

    async fn reopen_container_log(
        &self,
        r: Request<ReopenContainerLogRequest>,
    ) -> Result<Response<ReopenContainerLogResponse>, Status> {
        answer!(self, reopen_container_log, r)
    }

    async fn exec_sync(&self, r: Request<ExecSyncRequest>) -> Result<Response<ExecSyncResponse>, Status> {
        answer!(self, exec_sync, r)
    }

    async fn exec(&self, r: Request<ExecRequest>) -> Result<Response<ExecResponse>, Status> {
        answer!(self, exec, r)
    }

    async fn attach(&self, r: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        answer!(self, attach, r)
    }

    async fn port_forward(
        &self,
        r: Request<PortForwardRequest>,
    ) -> Result<Response<PortForwardResponse>, Status> {
        answer!(self, port_forward, r)
    }

    async fn update_container_resources(
        &self,
        r: Request<UpdateContainerResourcesRequest>,
    ) -> Result<Response<UpdateContainerResourcesResponse>, Status> {
        answer!(self, update_container_resources, r)
    }

    async fn update_pod_sandbox_resources(
        &self,
        r: Request<UpdatePodSandboxResourcesRequest>,
    ) -> Result<Response<UpdatePodSandboxResourcesResponse>, Status> {
        answer!(self, update_pod_sandbox_resources, r)
    }

    async fn container_stats(
        &self,
        r: Request<ContainerStatsRequest>,
    ) -> Result<Response<ContainerStatsResponse>, Status> {
        container_stats::answer(self, r.into_inner()).await
    }

    async fn list_container_stats(
        &self,
        r: Request<ListContainerStatsRequest>,
    ) -> Result<Response<ListContainerStatsResponse>, Status> {
        list_container_stats::answer(self, r.into_inner()).await
    }

    async fn stream_container_stats(
        &self,
        r: Request<StreamContainerStatsRequest>,
    ) -> Result<Response<Self::StreamContainerStatsStream>, Status> {
        stream_container_stats::answer(self, r.into_inner()).await
    }

    async fn pod_sandbox_stats(
        &self,
        r: Request<PodSandboxStatsRequest>,
    ) -> Result<Response<PodSandboxStatsResponse>, Status> {
        pod_sandbox_stats::answer(self, r.into_inner()).await
    }

    async fn list_pod_sandbox_stats(
        &self,
        r: Request<ListPodSandboxStatsRequest>,
    ) -> Result<Response<ListPodSandboxStatsResponse>, Status> {
        list_pod_sandbox_stats::answer(self, r.into_inner()).await
    }

    async fn stream_pod_sandbox_stats(
        &self,
        r: Request<StreamPodSandboxStatsRequest>,
    ) -> Result<Response<Self::StreamPodSandboxStatsStream>, Status> {
        stream_pod_sandbox_stats::answer(self, r.into_inner()).await
    }

    async fn list_metric_descriptors(
        &self,
        r: Request<ListMetricDescriptorsRequest>,
    ) -> Result<Response<ListMetricDescriptorsResponse>, Status> {
        answer!(self, list_metric_descriptors, r)
    }

    async fn list_pod_sandbox_metrics(
        &self,
        r: Request<ListPodSandboxMetricsRequest>,
    ) -> Result<Response<ListPodSandboxMetricsResponse>, Status> {
        list_pod_sandbox_metrics::answer(self, r.into_inner()).await
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        r: Request<StreamPodSandboxMetricsRequest>,
    ) -> Result<Response<Self::StreamPodSandboxMetricsStream>, Status> {
        stream_pod_sandbox_metrics::answer(self, r.into_inner()).await
    }

    async fn get_container_events(
        &self,
        r: Request<GetEventsRequest>,
    ) -> Result<Response<Self::GetContainerEventsStream>, Status> {
        answer!(self, get_container_events, r)
    }

    async fn checkpoint_container(
        &self,
        _: Request<CheckpointContainerRequest>,
    ) -> Result<Response<CheckpointContainerResponse>, Status> {
        unimplemented("CheckpointContainer")
    }

    async fn checkpoint_pod(
        &self,
        _: Request<CheckpointPodRequest>,
    ) -> Result<Response<CheckpointPodResponse>, Status> {
        unimplemented("CheckpointPod")
    }

    async fn restore_pod(
        &self,
        _: Request<RestorePodRequest>,
    ) -> Result<Response<RestorePodResponse>, Status> {
        unimplemented("RestorePod")
    }
}
