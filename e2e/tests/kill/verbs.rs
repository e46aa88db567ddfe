//! Verbs that the clients of other scenarios do not need.

use e2e::client::Cri;
use e2e::error::Error;
use e2e::proto::{
    AttachRequest, ImageSpec, LinuxContainerResources, NamespaceOption, PodSandboxConfig, RemoveImageRequest,
    UpdateContainerResourcesRequest, UpdatePodSandboxResourcesRequest,
};
use e2e::raw::{Raw, Said, Upgrade};
use e2e::world::BUSYBOX;

/// A command whose process dies before it is the program has an exit code that says so: the kubelet probes again.
pub(crate) async fn say_hello(cri: Cri, id: String) -> Result<Vec<u8>, Error> {
    let reply = cri.exec(&id, &["/bin/echo", "hello"], 30).await?;
    let ran = reply.exit_code == 0;
    if ran { Ok(reply.stdout) } else { Err(Error::Incomplete { method: "ExecSync", part: "exit code 0" }) }
}

/// What a container has of its plugin.
pub(crate) async fn see(cri: Cri, id: String) -> Result<Vec<u8>, Error> {
    let script = "echo $FROM_PLUGIN; [ -d /from-plugin ] && echo mounted; ulimit -Sn";
    let reply = cri.exec(&id, &["/bin/sh", "-c", script], 30).await?;
    let ran = reply.exit_code == 0;
    if ran { Ok(reply.stdout) } else { Err(Error::Incomplete { method: "ExecSync", part: "exit code 0" }) }
}

/// Attach, until the container has said something; then the client leaves.
pub(crate) async fn watch(cri: Cri, id: String) -> Result<(), Error> {
    let request = AttachRequest { container_id: id, stdout: true, ..AttachRequest::default() };
    let attached = cri.runtime.clone().attach(request).await;
    let url = attached
        .map_err(|status| Error::Rpc { method: "Attach", status: Box::new(status) })?
        .into_inner()
        .url;
    let lost = |_| Error::Incomplete { method: "Attach", part: "output" };
    let mut client = Raw::connect(&url, Upgrade::Channels).map_err(lost)?;
    loop {
        match client.hear().map_err(lost)? {
            Said::Data(1, text, _) if !text.is_empty() => return Ok(()),
            _ => {}
        }
    }
}

/// RemoveImage.
pub(crate) async fn remove_image(cri: Cri) -> Result<(), Error> {
    let image = Some(ImageSpec { image: BUSYBOX.to_owned(), ..ImageSpec::default() });
    let removed = cri.images.clone().remove_image(RemoveImageRequest { image }).await;
    removed.map(drop).map_err(|status| Error::Rpc { method: "RemoveImage", status: Box::new(status) })
}

/// UpdatePodSandboxResources.
pub(crate) async fn resize(cri: Cri, id: String) -> Result<(), Error> {
    let resources =
        LinuxContainerResources { memory_limit_in_bytes: 300 << 20, ..LinuxContainerResources::default() };
    let request =
        UpdatePodSandboxResourcesRequest { pod_sandbox_id: id, overhead: None, resources: Some(resources) };
    let updated = cri.runtime.clone().update_pod_sandbox_resources(request).await;
    let failed = |status| Error::Rpc { method: "UpdatePodSandboxResources", status: Box::new(status) };
    updated.map(drop).map_err(failed)
}

/// UpdateContainerResources.
pub(crate) async fn update(cri: Cri, id: String) -> Result<(), Error> {
    let linux =
        LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..LinuxContainerResources::default() };
    let request =
        UpdateContainerResourcesRequest { container_id: id, linux: Some(linux), ..Default::default() };
    let updated = cri.runtime.clone().update_container_resources(request).await;
    updated
        .map(drop)
        .map_err(|status| Error::Rpc { method: "UpdateContainerResources", status: Box::new(status) })
}

/// What a container of the pod has to ask for.
pub(crate) fn namespaces_of(pod: &PodSandboxConfig) -> Option<NamespaceOption> {
    pod.linux.as_ref()?.security_context.as_ref()?.namespace_options.clone()
}
