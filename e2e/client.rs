//! A gRPC client of the Container Runtime Interface.

use crate::error::Error;
use crate::proto::image_service_client::ImageServiceClient;
use crate::proto::runtime_service_client::RuntimeServiceClient;
use crate::proto::{
    AuthConfig, Container, ContainerConfig, ContainerFilter, ContainerStats, ContainerStatus,
    ContainerStatusRequest, CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, ImageSpec,
    ListContainerStatsRequest, ListContainersRequest, ListPodSandboxMetricsRequest, ListPodSandboxRequest,
    ListPodSandboxStatsRequest, PodSandbox, PodSandboxConfig, PodSandboxMetrics, PodSandboxStats,
    PodSandboxStatus, PodSandboxStatusRequest, PullImageRequest, RemoveContainerRequest,
    RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StatusRequest,
    StopContainerRequest, StopPodSandboxRequest,
};
use hyper_util::rt::TokioIo;
use std::path::Path;
use tokio::net::UnixStream;
use tonic::Response;
use tonic::transport::{Channel, Endpoint};

const LIMIT: usize = 64 << 20;

/// Both services over one connection; clones share it.
#[derive(Debug, Clone)]
pub struct Cri {
    /// The RuntimeService, for what has no method here.
    pub runtime: RuntimeServiceClient<Channel>,
    /// The ImageService.
    pub images: ImageServiceClient<Channel>,
    /// The connection, for other ways to read answers.
    pub channel: Channel,
}

fn named<T>(method: &'static str) -> impl Fn(Result<Response<T>, tonic::Status>) -> Result<T, Error> {
    move |result| {
        result.map(Response::into_inner).map_err(|status| Error::Rpc { method, status: Box::new(status) })
    }
}

impl Cri {
    /// Connects to a socket.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let path = socket.to_path_buf();
        let dial = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://cri.invalid")
            .connect_with_connector(dial)
            .await
            .map_err(|source| Error::Connect { path: socket.to_path_buf(), source })?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LIMIT),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(LIMIT),
            channel,
        })
    }

    /// Whether the runtime says how it is, ready or not.
    pub async fn answers(&self) -> bool {
        self.runtime.clone().status(StatusRequest { verbose: false }).await.is_ok()
    }

    /// Whether the runtime says that it is ready; the network may not be.
    pub async fn is_ready(&self) -> bool {
        let reply = self.runtime.clone().status(StatusRequest { verbose: false }).await;
        reply.is_ok_and(|reply| {
            let conditions = reply.into_inner().status.unwrap_or_default().conditions;
            conditions.iter().any(|condition| condition.r#type == "RuntimeReady" && condition.status)
        })
    }

    /// RunPodSandbox.
    ///
    /// # Errors
    /// The runtime's, as with every method here.
    pub async fn run_pod(&self, config: &PodSandboxConfig) -> Result<String, Error> {
        self.run_pod_by(config, "").await
    }

    /// RunPodSandbox with a runtime handler.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn run_pod_by(&self, config: &PodSandboxConfig, handler: &str) -> Result<String, Error> {
        let request =
            RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
        let reply = self.runtime.clone().run_pod_sandbox(request).await;
        named("RunPodSandbox")(reply).map(|reply| reply.pod_sandbox_id)
    }

    /// StopPodSandbox.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn stop_pod(&self, id: &str) -> Result<(), Error> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        named("StopPodSandbox")(self.runtime.clone().stop_pod_sandbox(request).await).map(drop)
    }

    /// RemovePodSandbox.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn remove_pod(&self, id: &str) -> Result<(), Error> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        named("RemovePodSandbox")(self.runtime.clone().remove_pod_sandbox(request).await).map(drop)
    }

    /// StopPodSandbox and RemovePodSandbox.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn end_pod(&self, id: &str) -> Result<(), Error> {
        self.stop_pod(id).await?;
        self.remove_pod(id).await
    }

    /// PodSandboxStatus.
    ///
    /// # Errors
    /// The runtime's, or an empty reply.
    pub async fn pod_status(&self, id: &str) -> Result<PodSandboxStatus, Error> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let reply = named("PodSandboxStatus")(self.runtime.clone().pod_sandbox_status(request).await)?;
        reply.status.ok_or(Error::Incomplete { method: "PodSandboxStatus", part: "status" })
    }

    /// The pod's first address.
    ///
    /// # Errors
    /// The runtime's, or a pod without an address.
    pub async fn pod_ip(&self, id: &str) -> Result<String, Error> {
        let network = self.pod_status(id).await?.network.unwrap_or_default();
        if network.ip.is_empty() {
            return Err(Error::Incomplete { method: "PodSandboxStatus", part: "network.ip" });
        }
        Ok(network.ip)
    }

    /// ListPodSandbox without a filter.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pods(&self) -> Result<Vec<PodSandbox>, Error> {
        let reply = self.runtime.clone().list_pod_sandbox(ListPodSandboxRequest { filter: None }).await;
        named("ListPodSandbox")(reply).map(|reply| reply.items)
    }

    /// CreateContainer.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn create(
        &self,
        pod: &str,
        container: &ContainerConfig,
        config: &PodSandboxConfig,
    ) -> Result<String, Error> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(container.clone()),
            sandbox_config: Some(config.clone()),
        };
        let reply = self.runtime.clone().create_container(request).await;
        named("CreateContainer")(reply).map(|reply| reply.container_id)
    }

    /// StartContainer.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        named("StartContainer")(self.runtime.clone().start_container(request).await).map(drop)
    }

    /// StopContainer with a grace period in seconds.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn stop(&self, id: &str, timeout: i64) -> Result<(), Error> {
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        named("StopContainer")(self.runtime.clone().stop_container(request).await).map(drop)
    }

    /// RemoveContainer.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        named("RemoveContainer")(self.runtime.clone().remove_container(request).await).map(drop)
    }

    /// ContainerStatus.
    ///
    /// # Errors
    /// The runtime's, or an empty reply.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, Error> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let reply = named("ContainerStatus")(self.runtime.clone().container_status(request).await)?;
        reply.status.ok_or(Error::Incomplete { method: "ContainerStatus", part: "status" })
    }

    /// The verbose part of ContainerStatus.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn container_info(&self, id: &str) -> Result<serde_json::Value, Error> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let reply = named("ContainerStatus")(self.runtime.clone().container_status(request).await)?;
        let text = reply.info.get("info").map_or("", String::as_str);
        serde_json::from_str(text).map_err(|_| Error::Incomplete { method: "ContainerStatus", part: "info" })
    }

    /// ListContainers without a filter.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn containers(&self) -> Result<Vec<Container>, Error> {
        let request = ListContainersRequest { filter: Some(ContainerFilter::default()) };
        named("ListContainers")(self.runtime.clone().list_containers(request).await)
            .map(|reply| reply.containers)
    }

    /// ListContainerStats without a filter.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn container_stats(&self) -> Result<Vec<ContainerStats>, Error> {
        let reply =
            self.runtime.clone().list_container_stats(ListContainerStatsRequest { filter: None }).await;
        named("ListContainerStats")(reply).map(|reply| reply.stats)
    }

    /// ListPodSandboxStats without a filter.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pod_stats(&self) -> Result<Vec<PodSandboxStats>, Error> {
        let reply =
            self.runtime.clone().list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter: None }).await;
        named("ListPodSandboxStats")(reply).map(|reply| reply.stats)
    }

    /// ListPodSandboxMetrics.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pod_metrics(&self) -> Result<Vec<PodSandboxMetrics>, Error> {
        let reply = self.runtime.clone().list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await;
        named("ListPodSandboxMetrics")(reply).map(|reply| reply.pod_metrics)
    }

    /// ExecSync with a time-out in seconds (0: none).
    ///
    /// # Errors
    /// The runtime's; a command that fails is no error.
    pub async fn exec(&self, id: &str, command: &[&str], timeout: i64) -> Result<ExecSyncResponse, Error> {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout };
        named("ExecSync")(self.runtime.clone().exec_sync(request).await)
    }

    /// Standard output of a shell command in a container; what it says on standard error follows.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn shell(&self, id: &str, script: &str) -> Result<String, Error> {
        let reply = self.exec(id, &["/bin/sh", "-c", script], 30).await?;
        let said = [reply.stdout, reply.stderr].concat();
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// PullImage; the image's id.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pull(&self, image: &str, auth: Option<AuthConfig>) -> Result<String, Error> {
        let image = Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() });
        let request = PullImageRequest { image, auth, sandbox_config: None };
        named("PullImage")(self.images.clone().pull_image(request).await).map(|reply| reply.image_ref)
    }
}
