//! Images as volumes, and the volumes that a container's own image declares.

use crate::{Pod, mounted, refusal};
use e2e::image::{Entry, Image, Layer};
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, ImageSpec, Mount, RemoveImageRequest};
use e2e::runtime::Kind;
use e2e::world::World;
use serde_json::json;
use std::fs;

const MODELS: &str = "registry.test/models:1";

fn image(reference: &str, sub_path: &str, place: &str) -> Mount {
    Mount {
        container_path: place.into(),
        readonly: true,
        image: Some(ImageSpec { image: reference.into(), ..ImageSpec::default() }),
        image_sub_path: sub_path.into(),
        ..Mount::default()
    }
}

fn text(content: &str) -> Entry {
    Entry::File(format!("{content}\n").into())
}

fn link(target: &str) -> Entry {
    Entry::Symlink(target.into())
}

/// Two layers that share directories; links that stay inside and links that would leave.
fn models(outside: &str) -> Image {
    let lower = Layer::default()
        .with("a", 0o755, Entry::Directory)
        .with("a/one", 0o644, text("one"))
        .with("a/gone", 0o644, text("gone"))
        .with("a/deep", 0o755, Entry::Directory)
        .with("a/deep/two", 0o644, text("two"))
        .with("etc", 0o755, Entry::Directory)
        .with("etc/name", 0o644, text("of the image"))
        .with("absolute", 0o777, link("/a/deep"))
        .with("a/up", 0o777, link("../../../../etc"))
        .with("out", 0o777, link(outside))
        .with("proc-out", 0o777, link(&format!("/proc/1/root{outside}")));
    let upper = Layer::default()
        .with("a", 0o755, Entry::Directory)
        .with("a/.wh.gone", 0o644, Entry::File(Vec::new()))
        .with("a/three", 0o644, text("three"));
    Image { layers: vec![lower, upper], ..Image::default() }
}

#[test]
fn an_image_is_a_volume_that_nobody_can_change() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer follows links of sub paths in its own way");
        return;
    }
    let outside = world.isolation.directory("outside").unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    world.registry.push("models", "1", &models(outside.to_str().unwrap())).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "models").await;
        let missing = refusal(&pod, "unpulled", image(MODELS, "", "/m")).await;
        assert!(missing.contains("mounts[0].image") && missing.contains(MODELS), "{missing}");
        pod.cri.pull(MODELS, None).await.unwrap();
        let mounts = vec![
            image(MODELS, "", "/all"),
            image(MODELS, "a", "/a"),
            image(MODELS, "a/deep/", "/deep"),
            image(MODELS, "absolute", "/link"),
            image(MODELS, "a/up", "/up"),
        ];
        let script = "ls /a /link; cat /all/a/three /deep/two /link/two /up/name; \
            touch /all/x /a/x /deep/x 2>/dev/null && echo writes; ls /all/out/ /all/proc-out/ 2>/dev/null; echo end";
        let said = pod.output(&mounted("main", mounts, script)).await;
        let listed = ["/a:", "deep", "one", "three", "up", "", "/link:", "two"];
        assert_eq!(said[..8], listed);
        assert_eq!(said[8..], ["three", "two", "two", "of the image", "end"]);
        for (name, sub) in
            [("absent", "a/nothing"), ("file", "a/one"), ("gone", "a/gone"), ("out", "out"), ("proc", "proc-out")]
        {
            let refused = refusal(&pod, name, image(MODELS, sub, "/m")).await;
            assert!(refused.contains("mounts[0].image_sub_path") && refused.contains(sub), "{refused}");
        }
        for (name, sub) in [("up", "../a"), ("root", "/a"), ("inner", "a/../../a")] {
            let refused = refusal(&pod, name, image(MODELS, sub, "/m")).await;
            assert!(refused.contains("mounts[0].image_sub_path"), "{refused}");
        }
        let writable = Mount { readonly: false, ..image(MODELS, "", "/m") };
        assert!(refusal(&pod, "writable", writable).await.contains("mounts[0].readonly"));
        pod.end().await;
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something was made outside");
}

#[test]
fn an_image_lives_as_long_as_a_container_mounts_it() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer removes the name and keeps the snapshot");
        return;
    }
    world.registry.push("models", "1", &models("/outside")).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "held").await;
        pod.cri.pull(MODELS, None).await.unwrap();
        let script = "until [ -e /go ]; do sleep 0.05; done; cat /m/a/one";
        let config = mounted("main", vec![image(MODELS, "", "/m")], script);
        let id = pod.start(&config).await;
        let spec = ImageSpec { image: MODELS.into(), ..ImageSpec::default() };
        let remove = RemoveImageRequest { image: Some(spec) };
        // Whether it is refused or done later: the container keeps its files.
        let _ = pod.cri.images.clone().remove_image(remove.clone()).await;
        pod.cri.shell(&id, "touch /go").await.unwrap();
        assert_eq!(pod.ended(&id, &config).await, ["one"]);
        pod.end().await;
        pod.cri.images.clone().remove_image(remove).await.unwrap();
        let again = Pod::new(&world, "again").await;
        let refused = refusal(&again, "main", image(MODELS, "", "/m")).await;
        assert!(refused.contains(MODELS), "{refused}");
        again.end().await;
    });
}

#[test]
fn declared_volumes_start_with_what_the_image_has_and_go_with_the_container() {
    let Some(world) = World::new().unwrap() else { return };
    let outside = world.isolation.directory("outside").unwrap();
    let mut image = e2e::image::busybox().unwrap();
    image.layers.push(
        Layer::default()
            .with("var/lib", 0o755, Entry::Directory)
            .owned("var/lib/db", 0o750, 33, Entry::Directory)
            .owned("var/lib/db/first", 0o640, 33, text("first"))
            .with("leaving", 0o777, link(outside.to_str().unwrap())),
    );
    image.config["Volumes"] = json!({"/var/lib/db": {}, "/fresh": {}, "/covered/inner": {}, "/leaving": {}});
    world.registry.push("db", "1", &image).unwrap();
    let reference = "registry.test/db:1";
    let covered = crate::directory(&world, "covered");
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "declared").await;
        pod.cri.pull(reference, None).await.unwrap();
        let script = "stat -c '%a %u' /var/lib/db; cat /var/lib/db/first; echo more >>/var/lib/db/first; \
            for place in /var/lib/db /fresh /covered/inner; do \
            grep -q \" $place \" /proc/mounts && echo volume $place; done; touch /fresh/x /leaving/x && ls /leaving";
        for attempt in ["one", "two"] {
            let config = ContainerConfig {
                mounts: vec![crate::bind(&covered, "/covered")],
                ..shell(attempt, reference, script)
            };
            let said = pod.output(&config).await;
            // The second container has volumes of its own.
            let expected = ["750 33", "first", "volume /var/lib/db", "volume /fresh", "x"];
            assert_eq!(said, expected, "{attempt}");
        }
        pod.end().await;
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "a volume was made outside");
    assert_eq!(fs::read_dir(&covered).unwrap().count(), 1, "a volume was made in another");
}
