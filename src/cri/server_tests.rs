//! The layers on a real socket, with an image service that fails on demand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::proto::image_service_client::ImageServiceClient;
use crate::proto::image_service_server::ImageService;
use crate::proto::*;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status};

struct Fake;

#[tonic::async_trait]
impl ImageService for Fake {
    type StreamImagesStream = BoxStream<'static, Result<StreamImagesResponse, Status>>;

    async fn list_images(
        &self,
        _: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        Ok(Response::new(ListImagesResponse::default()))
    }

    async fn stream_images(
        &self,
        _: Request<StreamImagesRequest>,
    ) -> Result<Response<Self::StreamImagesStream>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> Result<Response<ImageStatusResponse>, Status> {
        let spec = request.into_inner().image;
        Ok(Response::new(ImageStatusResponse {
            image: Some(Image { spec, ..Image::default() }),
            ..ImageStatusResponse::default()
        }))
    }

    async fn pull_image(&self, _: Request<PullImageRequest>) -> Result<Response<PullImageResponse>, Status> {
        panic!("on purpose")
    }

    async fn remove_image(
        &self,
        _: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        std::future::pending().await
    }

    async fn image_fs_info(
        &self,
        _: Request<ImageFsInfoRequest>,
    ) -> Result<Response<ImageFsInfoResponse>, Status> {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Ok(Response::new(ImageFsInfoResponse::default()))
    }
}

struct Daemon {
    client: ImageServiceClient<Channel>,
    registry: prometheus::Registry,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
    dir: tempfile::TempDir,
}

async fn daemon(max_request_bytes: usize) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cri.sock");
    let incoming = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
    let registry = prometheus::Registry::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let services = ImageServiceServer::new(Fake).max_decoding_message_size(max_request_bytes);
    let metrics = registry.clone();
    let server = tokio::spawn(async move {
        let shutdown = async move { drop(stopped.await) };
        run(services, incoming, &Settings { max_request_bytes }, &metrics, shutdown)?.await
    });
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap();
    let client = ImageServiceClient::new(channel);
    Daemon { client, registry, stop, server, dir }
}

fn named(bytes: usize) -> ImageStatusRequest {
    let image = Some(ImageSpec { image: "x".repeat(bytes), ..ImageSpec::default() });
    ImageStatusRequest { image, verbose: false }
}

fn count(registry: &prometheus::Registry, method: &str, code: &str) -> f64 {
    let families = registry.gather();
    let counts = families.iter().find(|family| family.name() == "corten_cri_requests_total");
    let is = |metric: &prometheus::proto::Metric, name, value| {
        metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
    };
    counts
        .into_iter()
        .flat_map(prometheus::proto::MetricFamily::get_metric)
        .filter(|metric| is(metric, "method", method) && is(metric, "code", code))
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_the_limit_is_refused_and_the_connection_survives() {
    let limit = 1 << 20;
    let mut daemon = daemon(limit).await;
    for round in 0..20 {
        let refused = daemon.client.image_status(named(limit + 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        // Far over every window too, so that most of it is never read.
        let refused = daemon.client.image_status(named(24 << 20)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        let taken = daemon.client.image_status(named(limit - 64)).await;
        assert!(taken.is_ok(), "round {round}: {taken:?}");
    }
    assert_eq!(count(&daemon.registry, "ImageStatus", "ResourceExhausted"), 40.0);
    assert_eq!(count(&daemon.registry, "ImageStatus", "OK"), 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_one_rpcs_failure() {
    let mut daemon = daemon(1 << 20).await;
    for _ in 0..3 {
        let failed = daemon.client.pull_image(PullImageRequest::default()).await.unwrap_err();
        assert_eq!(failed.code(), Code::Internal);
        assert!(!failed.message().contains("on purpose"), "{}", failed.message());
    }
    daemon.client.list_images(ListImagesRequest::default()).await.unwrap();
    assert_eq!(count(&daemon.registry, "PullImage", "Internal"), 3.0);
    assert_eq!(count(&daemon.registry, "ListImages", "OK"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_is_counted_as_cancelled() {
    let mut daemon = daemon(1 << 20).await;
    let call = daemon.client.remove_image(RemoveImageRequest::default());
    let waited = tokio::time::timeout(std::time::Duration::from_millis(100), call).await;
    assert!(waited.is_err());
    for _ in 0..100 {
        if count(&daemon.registry, "RemoveImage", "Canceled") == 1.0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the call is not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_answers_what_is_under_way() {
    let mut daemon = daemon(1 << 20).await;
    let mut client = daemon.client.clone();
    let slow = tokio::spawn(async move { client.image_fs_info(ImageFsInfoRequest::default()).await });
    daemon.client.list_images(ListImagesRequest::default()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    daemon.stop.send(()).unwrap();
    assert!(slow.await.unwrap().is_ok());
    daemon.server.await.unwrap().unwrap();
}

/// What an HTTP/2 client reads after one call whose header block says this of the server: the kinds of the frames on its
/// stream.
async fn call(daemon: &Daemon, authority: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let frame = |kind: u8, flags: u8, stream: u8, content: &[u8]| {
        let [_, a, b, c] = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, stream], content].concat()
    };
    let string = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()][..], text].concat();
    let block = [
        vec![0x83, 0x86, 0x44],
        string(b"/runtime.v1.ImageService/ListImages"),
        vec![0x41],
        string(authority),
        vec![0x5f],
        string(b"application/grpc"),
        vec![0x40],
        string(b"te"),
        string(b"trailers"),
    ]
    .concat();
    let mut stream = tokio::net::UnixStream::connect(daemon.dir.path().join("cri.sock")).await.unwrap();
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &block),
        frame(0, 1, 1, &[0; 5]),
    ];
    stream.write_all(&request.concat()).await.unwrap();
    let mut kinds = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let [a, b, c, kind, flags, .., number] = head;
        let mut content = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut content).await.unwrap();
        if number == 1 {
            kinds.push(kind);
        }
        // The end of the stream, or its reset.
        if number == 1 && (kind == 3 || flags & 1 == 1) {
            return kinds;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_name_the_server_by_its_socket() {
    let daemon = daemon(1 << 20).await;
    for authority in ["localhost", "%2Frun%2Fcorten.sock", "/run/corten.sock", "unix:/run/corten.sock"] {
        let kinds = call(&daemon, authority.as_bytes()).await;
        assert_eq!(kinds, [1, 0, 1], "{authority}: headers, an answer, trailers");
    }
    assert_eq!(count(&daemon.registry, "ListImages", "OK"), 4.0);
}

#[test]
fn methods_have_series_from_the_start_but_those_that_are_lacking() {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let series = "corten_cri_requests_total{code=\"OK\",method=\"RunPodSandbox\"} 0";
    assert!(text.lines().any(|line| line == series), "{text}");
    let longest = "corten_cri_request_duration_seconds_bucket{method=\"RunPodSandbox\",le=\"240\"} 0";
    assert!(text.lines().any(|line| line == longest), "{text}");
    assert!(!text.contains("Checkpoint") && !text.contains("Restore"), "{text}");

    let lacking = metrics.method("/runtime.v1.RuntimeService/CheckpointPod");
    assert_eq!(lacking.name, "CheckpointPod", "the log has its name");
    metrics.begin();
    metrics.end(lacking, Code::Unimplemented, std::time::Duration::ZERO);
    assert_eq!(count(&registry, "unknown", "Unimplemented"), 1.0);
    assert_eq!(count(&registry, "CheckpointPod", "Unimplemented"), 0.0);
}

#[tokio::test]
async fn metrics_are_registered_once() {
    let registry = prometheus::Registry::new();
    assert!(Metrics::register(&registry).is_ok());
    assert!(Metrics::register(&registry).is_err());
}
