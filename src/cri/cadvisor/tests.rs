//! The answers, through clients on a real socket.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use engine::FirstProcess;
use hyper_util::rt::TokioIo;
use model::{ContainerConfig, ContainerMetadata, Exit, ImageSpec, SandboxConfig, SandboxMetadata};
use proto::containerd::containers::GetContainerRequest;
use proto::containerd::containers::containers_client::ContainersClient;
use proto::containerd::tasks::tasks_client::TasksClient;
use proto::containerd::tasks::{self, GetRequest, Process};
use proto::containerd::version::VersionRequest;
use proto::containerd::version::version_client::VersionClient;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

#[derive(Default)]
struct Fake(HashMap<&'static str, Inhabitant>, Arc<Mutex<Vec<String>>>);

impl Register for Fake {
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Inhabitant>> {
        assert_ne!(id, "panic");
        std::future::ready(self.0.get(id).cloned()).boxed()
    }

    fn spec<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        let spec = (id == "written").then(|| br#"{"process":{"env":["A=b"]}}"#.to_vec());
        std::future::ready(spec).boxed()
    }

    fn name_pod(&self, id: &str) {
        self.1.lock().unwrap().push(id.to_owned());
    }
}

fn pod() -> Inhabitant {
    let metadata =
        SandboxMetadata { name: "web".into(), uid: "u-1".into(), namespace: "default".into(), attempt: 0 };
    Inhabitant {
        sandbox_id: model::SandboxId::new("pod"),
        pod: Arc::new(SandboxConfig { metadata, ..SandboxConfig::default() }),
        container: None,
        created_at: 1_700_000_000_000_000_005,
        is_enclosing: false,
        process: Some(FirstProcess::Runs(42)),
    }
}

fn container(labels: &[(&str, &str)], process: Option<FirstProcess>) -> Inhabitant {
    let config = ContainerConfig {
        metadata: ContainerMetadata { name: "app".into(), attempt: 1 },
        image: ImageSpec {
            image: "sha256:0123".into(),
            user_specified_image: "registry.test/app:1".into(),
            ..ImageSpec::default()
        },
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..ContainerConfig::default()
    };
    Inhabitant { container: Some(Arc::new(config)), process, ..pod() }
}

struct World {
    root: tempfile::TempDir,
    named: Arc<Mutex<Vec<String>>>,
    _server: JoinHandle<()>,
}

impl World {
    fn new(found: impl IntoIterator<Item = (&'static str, Inhabitant)>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("c.sock")).unwrap();
        let named = Arc::<Mutex<Vec<String>>>::default();
        let register = Arc::new(Fake(found.into_iter().collect(), named.clone()));
        let served = serve(UnixListenerStream::new(listener), register, std::future::pending());
        Self { root, named, _server: tokio::spawn(async move { served.await.unwrap() }) }
    }

    async fn channel(&self) -> Channel {
        let path = self.root.path().join("c.sock");
        let connect = move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        };
        let connector = tower::service_fn(connect);
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
    }

    async fn container(&self, id: &str) -> Result<proto::containerd::containers::Container, Status> {
        let mut client = ContainersClient::new(self.channel().await);
        let answer = client.get(within("k8s.io", GetContainerRequest { id: id.to_owned() })).await?;
        Ok(answer.into_inner().container.unwrap())
    }

    async fn task(&self, id: &str) -> Result<Process, Status> {
        let request = GetRequest { container_id: id.to_owned(), exec_id: String::new() };
        let answer = TasksClient::new(self.channel().await).get(within("k8s.io", request)).await?;
        Ok(answer.into_inner().process.unwrap())
    }
}

fn within<T>(namespace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", namespace.parse().unwrap());
    request
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_container_has_the_labels_by_which_the_kubelet_knows_it() {
    let labels = [
        ("io.kubernetes.container.name", "app"),
        ("io.kubernetes.pod.name", "web"),
        ("io.kubernetes.pod.namespace", "elsewhere"),
        ("io.kubernetes.pod.uid", "u-1"),
        ("own", "too"),
    ];
    let world = World::new([("written", container(&labels, None)), ("other", container(&[], None))]);
    let found = world.container("written").await.unwrap();
    let mut expected = map(&labels);
    expected.insert("io.cri-containerd.kind".into(), "container".into());
    assert_eq!(found.labels, expected);
    assert_eq!((found.id.as_str(), found.sandbox.as_str()), ("written", "pod"));
    assert_eq!(found.image, "registry.test/app:1");
    let made = found.created_at.unwrap();
    assert_eq!((made.seconds, made.nanos), (1_700_000_000, 5));
    let spec = found.spec.unwrap();
    assert_eq!(spec.type_url, "types.containerd.io/opencontainers/runtime-spec/1/Spec");
    let spec: serde_json::Value = serde_json::from_slice(&spec.value).unwrap();
    assert_eq!(spec["process"]["env"][0], "A=b");

    let found = world.container("other").await.unwrap();
    let names = [
        ("io.kubernetes.container.name", "app"),
        ("io.kubernetes.pod.name", "web"),
        ("io.kubernetes.pod.namespace", "default"),
        ("io.kubernetes.pod.uid", "u-1"),
        ("io.cri-containerd.kind", "container"),
    ];
    assert_eq!(found.labels, map(&names), "by the metadata where the client gave no labels");
    let spec: serde_json::Value = serde_json::from_slice(&found.spec.unwrap().value).unwrap();
    assert!(spec["process"].is_object(), "cAdvisor looks into it");
}

#[tokio::test]
async fn a_pod_is_a_sandbox_with_an_image_but_where_it_encloses_its_containers() {
    let scope = Inhabitant { is_enclosing: true, ..pod() };
    let world = World::new([("pod", pod()), ("scope", scope)]);
    let found = world.container("pod").await.unwrap();
    let names = [
        ("io.kubernetes.pod.name", "web"),
        ("io.kubernetes.pod.namespace", "default"),
        ("io.kubernetes.pod.uid", "u-1"),
        ("io.cri-containerd.kind", "sandbox"),
    ];
    assert_eq!((found.labels, found.image.as_str()), (map(&names), "corten-pod"));
    assert_eq!(world.container("scope").await.unwrap().image, "");
}

#[tokio::test]
async fn a_pod_gets_a_name_once_a_container_of_it_is_asked_about() {
    let world = World::new([("written", container(&[], None)), ("pod", pod())]);
    world.container("pod").await.unwrap();
    assert!(world.container("nobody").await.is_err());
    assert!(world.named.lock().unwrap().is_empty());
    world.container("written").await.unwrap();
    assert_eq!(*world.named.lock().unwrap(), ["pod"]);
}

#[tokio::test]
async fn a_task_is_the_first_process_and_how_it_ended() {
    let exit = Exit {
        code: 137,
        signal: Some(9),
        oom_killed: false,
        finished_at: 1_700_000_001_000_000_000,
        reason: "Error".into(),
        message: String::new(),
    };
    let world = World::new([
        ("waits", container(&[], Some(FirstProcess::Waits(41)))),
        ("runs", container(&[], Some(FirstProcess::Runs(43)))),
        ("ended", container(&[], Some(FirstProcess::Ended(exit)))),
        ("pod", pod()),
        ("none", container(&[], None)),
    ]);
    for (id, pid, status, code) in [
        ("waits", 41, tasks::Status::Created, 0),
        ("runs", 43, tasks::Status::Running, 0),
        ("ended", 0, tasks::Status::Stopped, 137),
        ("pod", 42, tasks::Status::Running, 0),
    ] {
        let task = world.task(id).await.unwrap();
        assert_eq!((task.pid, task.status(), task.exit_status), (pid, status, code), "{id}");
        assert_eq!((task.id.as_str(), task.container_id.as_str()), (id, id));
        assert_eq!(task.exited_at.map(|time| time.seconds), (id == "ended").then_some(1_700_000_001));
    }
    // cAdvisor tries again on this code alone.
    assert_eq!(world.task("none").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.task("nobody").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.container("nobody").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn only_the_kubelet_s_namespace_has_anything() {
    let world = World::new([("pod", pod())]);
    let request = || GetContainerRequest { id: "pod".into() };
    let mut client = ContainersClient::new(world.channel().await);
    assert!(client.get(within("k8s.io", request())).await.is_ok());
    assert_eq!(client.get(within("moby", request())).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.get(Request::new(request())).await.unwrap_err().code(), Code::FailedPrecondition);
    let request = GetRequest { container_id: "pod".into(), exec_id: String::new() };
    let mut client = TasksClient::new(world.channel().await);
    assert_eq!(client.get(within("moby", request)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_version_says_who_answers_and_other_methods_say_what_this_is() {
    let world = World::new([]);
    let channel = world.channel().await;
    let version = VersionClient::new(channel.clone()).version(VersionRequest {}).await.unwrap().into_inner();
    assert!(version.version.starts_with("corten-"), "{version:?}");
    for path in [
        "/containerd.services.containers.v1.Containers/List",
        "/containerd.services.tasks.v1.Tasks/Kill",
        "/containerd.services.images.v1.Images/List",
        "/runtime.v1.RuntimeService/Version",
        "/containerd.services.containers.v1.Containers/Get/",
    ] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<VersionRequest, VersionRequest>::default();
        let request = within("k8s.io", VersionRequest {});
        let refused = client.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
        let says = refused.message();
        assert!(says.contains("Corten") && says.contains("kubelet.cadvisor_socket"), "{says}");
        assert!(says.contains(path.trim_start_matches('/')), "{says}");
    }
}

#[tokio::test]
async fn a_panic_and_a_long_request_are_failures_of_their_own() {
    let world = World::new([("pod", pod())]);
    assert_eq!(world.container("panic").await.unwrap_err().code(), Code::Internal);
    assert_eq!(world.container(&"a".repeat(REQUEST)).await.unwrap_err().code(), Code::OutOfRange);
    assert!(world.container("pod").await.is_ok());
}

#[tokio::test]
async fn connections_beyond_the_places_wait_for_one() {
    let world = World::new([("pod", pod())]);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = world.channel().await;
        VersionClient::new(channel.clone()).version(VersionRequest {}).await.unwrap();
        held.push(channel);
    }
    let late = world.channel().await;
    let mut client = VersionClient::new(late);
    let mut asking = tokio::spawn(async move { client.version(VersionRequest {}).await.map(drop) });
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut asking).await;
    assert!(waits.is_err(), "{waits:?}");
    held.pop();
    tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap().unwrap().unwrap();
}
