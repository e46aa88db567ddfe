//! What the inhabitant of a cgroup is called.

use super::{Register, namespace};
use engine::Inhabitant;
use proto::containerd::containers::containers_server::Containers;
use proto::containerd::containers::{Container, GetContainerRequest, GetContainerResponse, Json, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What containerd calls the type of a spec.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// That of a pod, and of a container whose own is not written yet.
const NO_SPEC: &str = r#"{"ociVersion":"1.2.0","process":{"cwd":"/"}}"#;
/// The image of pods, which have none. Rules tell what a pod's own cgroup counts from its parts by there being an image.
const POD_IMAGE: &str = "corten-pod";

pub(super) struct Answers<R>(pub(super) Arc<R>);

#[tonic::async_trait]
impl<R: Register> Containers for Answers<R> {
    async fn get(
        &self,
        request: Request<GetContainerRequest>,
    ) -> Result<Response<GetContainerResponse>, Status> {
        namespace::check(request.metadata())?;
        let id = request.into_inner().id;
        let found = self.0.find(&id).await;
        let found =
            found.ok_or_else(|| Status::not_found(format!("no pod or container has the id {id:?}")))?;
        let spec = match found.container {
            Some(_) => {
                // Who knows containers by their cgroups asks about the pod as soon as that has one.
                self.0.name_pod(&found.sandbox_id);
                self.0.spec(&id).await
            }
            None => None,
        };
        let container = Container {
            labels: labels(&found),
            image: image(&found).to_owned(),
            spec: Some(Json {
                type_url: SPEC.to_owned(),
                value: spec.unwrap_or_else(|| NO_SPEC.as_bytes().to_vec()),
            }),
            created_at: Some(time(found.created_at)),
            sandbox: found.sandbox_id.to_string(),
            id,
        };
        Ok(Response::new(GetContainerResponse { container: Some(container) }))
    }
}

/// The kubelet's labels come with its requests; those of other clients get them by their names.
fn labels(found: &Inhabitant) -> BTreeMap<String, String> {
    let pod = &found.pod.metadata;
    let (kind, config) = match &found.container {
        Some(container) => ("container", &container.labels),
        None => ("sandbox", &found.pod.labels),
    };
    let mut labels = config.clone();
    let mut name = |key: &str, value: &str| {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    };
    name("io.kubernetes.pod.name", &pod.name);
    name("io.kubernetes.pod.namespace", &pod.namespace);
    name("io.kubernetes.pod.uid", &pod.uid);
    if let Some(container) = &found.container {
        name("io.kubernetes.container.name", &container.metadata.name);
    }
    labels.insert("io.cri-containerd.kind".to_owned(), kind.to_owned());
    labels
}

/// As the pod's author wrote it where that is known.
fn image(found: &Inhabitant) -> &str {
    match &found.container {
        Some(container) => {
            let names = [&container.image.user_specified_image, &container.image.image];
            names.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
        }
        // With an image, what is counted there would be counted twice: it is the sum of the containers'.
        None if found.is_enclosing => "",
        None => POD_IMAGE,
    }
}

fn time(nanoseconds: i64) -> Time {
    let (seconds, nanos) = super::split(nanoseconds);
    Time { seconds, nanos }
}
