//! Reading, writing, and what ContainerStatus says of it.

use crate::{Pod, bind, directory, mounted, refusal};
use e2e::proto::{ImageSpec, Mount, StatusRequest};
use e2e::world::World;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::Path;

fn tmpfs(path: &Path) {
    fs::create_dir_all(path).unwrap();
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
}

fn readonly(mount: Mount) -> Mount {
    Mount { readonly: true, ..mount }
}

const LOOK: &str = "cat /data/name /data/a/name /data/a/b/name /etc/passwd /new/place/file /etc/hosts /memory/name; \
    for place in /data /data/a /data/a/b /memory; do touch $place/new 2>/dev/null && echo writes $place; done; \
    echo more >>/new/place/file && echo appends; echo more >>/etc/passwd 2>/dev/null || echo cannot; \
    awk '$2 == \"/memory\" {print $3}' /proc/mounts; cat /tools/bin/hello; \
    cp /bin/busybox /still/true; /still/true 2>/dev/null || echo not executed";

#[test]
fn mounts_lie_where_they_were_asked_for_and_the_status_says_so() {
    let Some(mut world) = World::new().unwrap() else { return };
    let root = world.isolation.root().to_path_buf();
    let file = |name: &str, text: &str| {
        fs::write(root.join(name), text).unwrap();
        root.join(name)
    };
    let memory = root.join("memory");
    tmpfs(&memory);
    fs::write(memory.join("name"), "memory\n").unwrap();
    let layer = e2e::image::Layer::default()
        .with("opt", 0o755, e2e::image::Entry::Directory)
        .with("opt/bin", 0o755, e2e::image::Entry::Directory)
        .with("opt/bin/hello", 0o644, e2e::image::Entry::File(b"from an image\n".to_vec()));
    let image = e2e::image::Image { layers: vec![layer], ..e2e::image::Image::default() };
    world.registry.push("tools", "1", &image).unwrap();
    let tools = "registry.test/tools:1";
    let mounts = vec![
        // Deeper ones first: they are made in the order of their depth.
        bind(&directory(&world, "deepest"), "/data/a/b"),
        readonly(bind(&directory(&world, "deep"), "/data/a")),
        bind(&directory(&world, "top"), "/data"),
        readonly(bind(&file("passwd", "root:x:0:0::/:/bin/sh\n"), "/etc/passwd")),
        bind(&file("plain", "plain\n"), "/new/place/file"),
        readonly(bind(&file("hosts", "10.9.8.7 kubelet\n"), "/etc/hosts")),
        Mount { mount_options: vec!["noexec".into(), "nosuid".into()], ..bind(&memory, "/memory") },
        Mount {
            mount_options: vec!["noexec".into()],
            ..bind(&world.isolation.directory("still").unwrap(), "/still")
        },
        Mount {
            container_path: "/tools".into(),
            readonly: true,
            image: Some(ImageSpec { image: tools.into(), ..ImageSpec::default() }),
            image_sub_path: "opt".into(),
            ..Mount::default()
        },
    ];
    // In a read-only mount no place can be made for another.
    fs::create_dir_all(root.join("deep/b")).unwrap();
    let config = mounted("main", mounts, LOOK);
    let (id, pod, pulled) = world.tokio.block_on(async {
        let pod = Pod::new(&world, "shown").await;
        let pulled = pod.cri.pull(tools, None).await.unwrap();
        let id = pod.start(&config).await;
        let said = pod.ended(&id, &config).await;
        assert_eq!(
            said,
            [
                "top",
                "deep",
                "deepest",
                "root:x:0:0::/:/bin/sh",
                "plain",
                "10.9.8.7 kubelet",
                "memory",
                "writes /data",
                "writes /data/a/b",
                "writes /memory",
                "appends",
                "cannot",
                "tmpfs",
                "from an image",
                "not executed"
            ]
        );
        (id, pod.id.clone(), pulled)
    });
    assert_eq!(fs::read_to_string(root.join("plain")).unwrap(), "plain\nmore\n");
    assert!(
        root.join("top/new").exists() && root.join("deepest/new").exists() && memory.join("new").exists()
    );
    assert!(!root.join("deep/new").exists() && root.join("top/a").is_dir());

    let shown = |world: &World| {
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            cri.container_status(&id).await.unwrap().mounts
        })
    };
    let mut seen = shown(&world);
    // Beside what was asked for, an image says what it is, in the words of its pull.
    let volume = seen.last_mut().unwrap().image.as_mut().unwrap();
    assert_eq!(volume.image_ref, pulled);
    volume.image_ref.clear();
    assert_eq!(seen, config.mounts);
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    let mut again = shown(&world);
    again.last_mut().unwrap().image.as_mut().unwrap().image_ref.clear();
    assert_eq!(again, config.mounts, "after a restart");
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn read_only_is_as_deep_as_it_says() {
    let Some(world) = World::new().unwrap() else { return };
    let volume = directory(&world, "volume");
    tmpfs(&volume.join("inner"));
    tmpfs(&volume.join("inner/innermost"));
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "access").await;
        let status = pod.cri.runtime.clone().status(StatusRequest { verbose: false }).await.unwrap();
        let handlers = status.into_inner().runtime_handlers;
        let deep = handlers.iter().any(|handler| {
            handler.name.is_empty()
                && handler.features.is_some_and(|features| features.recursive_read_only_mounts)
        });
        if !deep {
            need::skip(need::Need::Kernel, "recursive read-only mounts need Linux 5.12");
            return;
        }
        let mounts = vec![
            bind(&volume, "/rw"),
            readonly(bind(&volume, "/ro")),
            Mount { recursive_read_only: true, ..readonly(bind(&volume, "/rro")) },
        ];
        let script = "for top in /rw /ro /rro; do for place in $top $top/inner $top/inner/innermost; do \
            touch $place/new 2>/dev/null && echo $place; done; done; \
            mount -o remount,rw /ro 2>/dev/null && echo remounts; cat /rro/name";
        let said = pod.output(&mounted("main", mounts, script)).await;
        assert_eq!(
            said,
            ["/rw", "/rw/inner", "/rw/inner/innermost", "/ro/inner", "/ro/inner/innermost", "volume"]
        );
        // Deep without read-only, or with propagation, is a contradiction.
        for (name, mount) in [
            ("writable", Mount { recursive_read_only: true, ..bind(&volume, "/x") }),
            (
                "propagated",
                Mount { recursive_read_only: true, propagation: 1, ..readonly(bind(&volume, "/x")) },
            ),
        ] {
            let refused = refusal(&pod, name, mount).await;
            assert!(refused.contains("recursive_read_only") || refused.contains("RRO"), "{refused}");
        }
        pod.end().await;
    });
}

#[test]
fn the_pods_own_files_and_memory_are_shared_by_its_containers() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "files").await;
        let ip = pod.cri.pod_ip(&pod.id).await.unwrap();
        let writer = mounted(
            "writer",
            Vec::new(),
            "echo shared >/dev/shm/word; echo own >/tmp/word; cat /etc/hostname; grep -c ' /dev/shm tmpfs ' /proc/mounts",
        );
        assert_eq!(pod.output(&writer).await, ["files", "1"]);
        let script = "cat /dev/shm/word; cat /tmp/word 2>/dev/null || echo none; cat /etc/hosts";
        let said = pod.output(&mounted("reader", Vec::new(), script)).await;
        assert_eq!(said[..2], ["shared", "none"], "{said:?}");
        if world.daemon.kind() == e2e::runtime::Kind::Corten {
            assert!(said.contains(&format!("{ip}\tfiles")), "{said:?}");
        }
        // A read-only root leaves no way to change them; volumes stay as they are.
        let mut config =
            mounted("sealed", vec![bind(&directory(&world, "volume"), "/data")], "for file in /etc/hosts \
                /etc/hostname /etc/resolv.conf /root/x; do echo x >>$file 2>/dev/null && echo writes $file; done; \
                echo x >>/data/name && echo done");
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().readonly_rootfs = true;
        assert_eq!(pod.output(&config).await, ["done"]);
        let other = Pod::new(&world, "other").await;
        let said = other.output(&mounted("reader", Vec::new(), "ls /dev/shm; echo end")).await;
        assert_eq!(said, ["end"], "memory of another pod");
        other.end().await;
        pod.end().await;
    });
}
