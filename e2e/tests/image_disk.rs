//! Images on a filesystem of their own, beside that of the containers' writable layers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::pods::shell;
use e2e::proto::{FilesystemUsage, ImageFsInfoRequest};
use e2e::runtime::{Kind, Options};
use e2e::tools;
use e2e::world::{BUSYBOX, World};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn tmpfs(on: &Path) {
    let mut mount = Command::new(tools::system("mount").unwrap());
    mount.args(["-t", "tmpfs", "-o", "size=256m", "images"]).arg(on);
    e2e::command::run(&mut mount, Duration::from_secs(10)).unwrap();
}

fn set(world: &World, root: &Path) {
    let file = world.daemon.place().root.join("conf.d/images.toml");
    fs::write(file, format!("[images]\nroot = \"{}\"\n", root.display())).unwrap();
}

/// Device and path of what a reply names.
fn place(usage: &FilesystemUsage) -> (u64, PathBuf) {
    let path = PathBuf::from(&usage.fs_id.as_ref().unwrap().mountpoint);
    (fs::metadata(&path).unwrap().dev(), path)
}

#[test]
fn images_lie_on_a_disk_of_their_own_and_do_not_move_unnoticed() {
    let Some(mut world) = World::with(|options| Options { kind: Kind::Corten, ..options }).unwrap() else {
        return;
    };
    let images = world.isolation.directory("images").unwrap();
    tmpfs(&images);
    world.daemon.stop().unwrap();
    set(&world, &images);
    // There was no image yet.
    world.daemon.restart().unwrap();
    let data = world.daemon.place().data.clone();
    let (pod, container) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("writer").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "dd if=/dev/zero of=/written bs=1M count=8 && sleep 1000";
        let container = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&container).await.unwrap();
        let written = "until [ \"$(stat -c %s /written 2>&1)\" = 8388608 ]; do sleep 0.05; done; echo done";
        assert_eq!(cri.shell(&container, written).await.unwrap().trim(), "done");
        let info = cri.images.clone().image_fs_info(ImageFsInfoRequest {}).await.unwrap().into_inner();
        let (image, layer) = (&info.image_filesystems[0], &info.container_filesystems[0]);
        assert_eq!((info.image_filesystems.len(), info.container_filesystems.len()), (1, 1));
        let (image_device, image_path) = place(image);
        let (layer_device, layer_path) = place(layer);
        assert_eq!(image_path, images);
        assert!(layer_path.starts_with(&data) && image_device != layer_device);
        let bytes = |usage: &FilesystemUsage| usage.used_bytes.as_ref().unwrap().value;
        assert!(bytes(layer) >= 8 << 20, "{layer:?}");
        assert!(bytes(image) > 1 << 20 && bytes(image) < 64 << 20, "{image:?}");
        let stats = cri.container_stats().await.unwrap().remove(0).writable_layer.unwrap();
        assert_eq!(stats.fs_id.unwrap().mountpoint, layer_path.display().to_string());
        (pod, container)
    });
    // Room for removal is kept on both, whichever is full.
    for reserve in [images.join("reserve"), data.join("state.reserve")] {
        assert!(fs::metadata(&reserve).unwrap().blocks() > 0, "{}", reserve.display());
    }

    world.daemon.stop().unwrap();
    let other = world.isolation.directory("other").unwrap();
    set(&world, &other);
    let said = world.daemon.refused().unwrap();
    let told = format!("images.toml:2: `images.root`: the images of this node lie in {}", images.display());
    assert!(said.contains(&told), "{said}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "nothing was made there");
    set(&world, &images);
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_eq!(cri.shell(&container, "echo here").await.unwrap().trim(), "here");
        cri.end_pod(&pod).await.unwrap();
    });
}
