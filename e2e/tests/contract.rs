//! What the kubelet takes for granted in the replies that it builds on, where no scenario of a pod shows it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{
    ContainerState, Image, ImageFsInfoRequest, ImageSpec, ImageStatusRequest, ListImagesRequest,
    RuntimeConfigRequest, StatusRequest, StreamContainersRequest, StreamImagesRequest,
    StreamPodSandboxesRequest, VersionRequest,
};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World};
use std::path::Path;
use tonic::Code;

#[test]
fn the_file_system_of_images_is_told_with_a_place_that_is_there() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let reply = cri.images.clone().image_fs_info(ImageFsInfoRequest {}).await.unwrap().into_inner();
        for usage in [&reply.image_filesystems, &reply.container_filesystems] {
            let first = usage.first().expect("the kubelet uses the first");
            assert!(Path::new(&first.fs_id.as_ref().unwrap().mountpoint).is_dir(), "{first:?}");
            assert!(first.timestamp > 0, "{first:?}");
        }
        let images = &reply.image_filesystems[0];
        assert!(images.used_bytes.as_ref().unwrap().value > 0, "{images:?}");
        assert!(images.inodes_used.as_ref().unwrap().value > 0, "{images:?}");
    });
}

async fn image(cri: &Cri, name: &str) -> Option<Image> {
    let image = Some(ImageSpec { image: name.to_owned(), ..ImageSpec::default() });
    let request = ImageStatusRequest { image, verbose: false };
    cri.images.clone().image_status(request).await.unwrap().into_inner().image
}

/// The garbage collection compares these, and a status shows the digest that was pulled.
#[test]
fn an_image_has_one_identity_wherever_it_is_named() {
    let Some(world) = World::new().unwrap() else { return };
    let pod = world.pod("identity").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert!(image(&cri, BUSYBOX).await.is_none(), "an absent image is an empty reply");
        let pulled = cri.pull(BUSYBOX, None).await.unwrap();
        let status = image(&cri, BUSYBOX).await.unwrap();
        assert_eq!(status.id, pulled);
        assert!(status.size > 0 && status.repo_tags == [BUSYBOX], "{status:?}");
        let list =
            cri.images.clone().list_images(ListImagesRequest { filter: None }).await.unwrap().into_inner();
        assert!(list.images.iter().any(|image| image.id == pulled));
        let sandbox = cri.run_pod(&pod).await.unwrap();
        let id = cri.create(&sandbox, &shell("main", BUSYBOX, "exec sleep 1000"), &pod).await.unwrap();
        cri.start(&id).await.unwrap();
        let listed = cri.containers().await.unwrap().into_iter().find(|it| it.id == id).unwrap();
        assert_eq!(listed.image_id, pulled, "{listed:?}");
        let status = cri.container_status(&id).await.unwrap();
        assert_eq!(status.image_id, pulled, "{status:?}");
        assert!(status.image_ref.starts_with("registry.test/busybox@sha256:"), "{status:?}");
        assert_eq!(status.image.unwrap().image, listed.image.unwrap().image);
        cri.end_pod(&sandbox).await.unwrap();
    });
}

/// Versions, conditions, the driver of cgroups, and what `crictl inspect` shows.
#[test]
fn what_the_kubelet_asks_first_is_complete_and_stays_the_same() {
    let Some(mut world) = World::new().unwrap() else { return };
    let pod = world.pod("first").unwrap();
    let first = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let version = cri.runtime.clone().version(VersionRequest::default()).await.unwrap().into_inner();
        let fields =
            [&version.version, &version.runtime_name, &version.runtime_version, &version.runtime_api_version];
        assert!(fields.iter().all(|field| !field.is_empty()), "{version:?}");
        let reply = cri.runtime.clone().status(StatusRequest { verbose: true }).await.unwrap().into_inner();
        assert!(reply.runtime_handlers.iter().any(|handler| handler.name.is_empty()), "{reply:?}");
        let conditions = reply.status.unwrap().conditions;
        for kind in ["RuntimeReady", "NetworkReady"] {
            assert!(conditions.iter().any(|it| it.r#type == kind && it.status), "{conditions:?}");
        }
        cri.pull(BUSYBOX, None).await.unwrap();
        let sandbox = cri.run_pod(&pod).await.unwrap();
        let id = cri.create(&sandbox, &shell("main", BUSYBOX, "exec sleep 1000"), &pod).await.unwrap();
        cri.start(&id).await.unwrap();
        let info = cri.container_info(&id).await.unwrap();
        assert!(info["pid"].as_i64() > Some(1), "{info}");
        assert_eq!(info["sandboxID"], sandbox.as_str(), "{info}");
        assert!(info["runtimeSpec"]["process"]["args"].is_array(), "{info}");
        cri.end_pod(&sandbox).await.unwrap();
        driver(&cri).await
    });
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    let again = world.tokio.block_on(async { driver(&world.daemon.client().await.unwrap()).await });
    assert_eq!(first, again);
}

async fn driver(cri: &Cri) -> i32 {
    let reply = cri.runtime.clone().runtime_config(RuntimeConfigRequest {}).await.unwrap().into_inner();
    reply.linux.unwrap().cgroup_driver
}

/// A stream of a list ends with all of it; a runtime that has none says so in the words on which the kubelet asks for
/// the list in one piece.
#[test]
fn streams_of_lists_end_with_all_of_them_or_are_not_there_at_all() {
    let Some(world) = World::new().unwrap() else { return };
    let pod = world.pod("listed").unwrap();
    let corten = world.daemon.kind() == Kind::Corten;
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pulled = cri.pull(BUSYBOX, None).await.unwrap();
        let sandbox = cri.run_pod(&pod).await.unwrap();
        let id = cri.create(&sandbox, &shell("main", BUSYBOX, "exec sleep 1000"), &pod).await.unwrap();
        let (mut runtime, mut images) = (cri.runtime.clone(), cri.images.clone());
        match runtime.stream_pod_sandboxes(StreamPodSandboxesRequest::default()).await {
            Err(status) => assert!(!corten && status.code() == Code::Unimplemented, "{status:?}"),
            Ok(reply) => {
                let mut stream = reply.into_inner();
                let mut pods = Vec::new();
                while let Some(part) = stream.message().await.unwrap() {
                    pods.extend(part.pod_sandboxes.into_iter().map(|pod| pod.id));
                }
                assert!(pods.len() == 1 && pods[0] == sandbox, "{pods:?}");
                let mut stream =
                    runtime.stream_containers(StreamContainersRequest::default()).await.unwrap().into_inner();
                let mut containers = Vec::new();
                while let Some(part) = stream.message().await.unwrap() {
                    containers.extend(part.containers.into_iter().map(|container| container.id));
                }
                assert_eq!(containers, [id]);
                let mut stream =
                    images.stream_images(StreamImagesRequest::default()).await.unwrap().into_inner();
                let mut found = Vec::new();
                while let Some(part) = stream.message().await.unwrap() {
                    found.extend(part.images.into_iter().map(|image| image.id));
                }
                assert_eq!(found, [pulled]);
            }
        }
        cri.end_pod(&sandbox).await.unwrap();
    });
}

/// Whoever restarts a kubelet, or types ^C, leaves nothing behind in a container.
#[test]
fn a_command_whose_client_has_left_is_ended() {
    let Some(world) = World::new().unwrap() else { return };
    let pod = world.pod("left").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let sandbox = cri.run_pod(&pod).await.unwrap();
        let id = cri.create(&sandbox, &shell("main", BUSYBOX, "exec sleep 1000"), &pod).await.unwrap();
        cri.start(&id).await.unwrap();
        let commands =
            async || cri.shell(&id, "grep -l '^7531$' -r /proc/[0-9]*/cmdline -z | wc -l").await.unwrap();
        for limit in [0, 3600] {
            let (client, asked) = (world.daemon.client().await.unwrap(), id.clone());
            let exec = tokio::spawn(async move { client.exec(&asked, &["sleep", "7531"], limit).await });
            until("it runs", async || commands().await.trim() == "1").await;
            exec.abort();
            until("it has ended", async || commands().await.trim() == "0").await;
        }
        assert_eq!(cri.container_status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
        cri.end_pod(&sandbox).await.unwrap();
    });
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{what}: never");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
