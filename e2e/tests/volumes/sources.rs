//! Paths of the host that are not there, or are not what the place in the container is.

use crate::{Pod, bind, directory, mounted, refusal};
use e2e::proto::Mount;
use e2e::runtime::Kind;
use e2e::world::World;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

#[test]
fn a_missing_source_is_made_and_stays() {
    let Some(world) = World::new().unwrap() else { return };
    let root = directory(&world, "sources");
    let made = root.join("made/for/it");
    symlink(&root, root.join("link")).unwrap();
    fs::create_dir(root.join("kept")).unwrap();
    fs::set_permissions(root.join("kept"), fs::Permissions::from_mode(0o2750)).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "missing").await;
        let mounts = vec![
            bind(&made, "/made"),
            bind(&root.join("link/behind"), "/behind"),
            bind(&root.join("kept"), "/kept"),
        ];
        let script = "echo word >/made/word; stat -c %a /made /behind /kept; ls /behind";
        assert_eq!(pod.output(&mounted("main", mounts, script)).await, ["755", "755", "2750"]);
        pod.end().await;
    });
    assert_eq!(fs::read_to_string(made.join("word")).unwrap(), "word\n");
    let made = fs::metadata(root.join("behind")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.is_dir()), (0o755, 0, true));
}

#[test]
fn a_source_that_cannot_be_is_refused_and_nothing_is_made() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer makes what it can before it refuses");
        return;
    }
    let root = directory(&world, "sources");
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "refused").await;
        let below = root.join("name/below");
        for (name, host) in
            [("below-a-file", &below), ("dangling", &root.join("dangling")), ("loop", &root.join("loop"))]
        {
            let refused = refusal(&pod, name, bind(host, "/data")).await;
            let path = host.to_str().unwrap();
            assert!(refused.contains("mounts[0].host_path") && refused.contains(path), "{refused}");
        }
        for (name, field, mount) in [
            ("root", "mounts[0].container_path", bind(&root, "/")),
            ("up", "mounts[0].container_path", bind(&root, "/data/../..")),
            ("proc", "mounts[0].container_path", bind(&root, "/proc")),
            ("proc-sys", "mounts[0].container_path", bind(&root, "/proc/sys/net")),
            ("relative", "mounts[0].host_path", Mount { host_path: "x".into(), ..bind(&root, "/data") }),
            ("nothing", "mounts[0].host_path", Mount { host_path: String::new(), ..bind(&root, "/data") }),
            ("option", "mount_options[0]", Mount { mount_options: vec!["suid".into()], ..bind(&root, "/d") }),
        ] {
            let refused = refusal(&pod, name, mount).await;
            assert!(refused.contains(field), "{name}: {refused}");
        }
        // All is looked at before anything is made: the second mount's fault leaves no source of the first.
        let absent = root.join("absent");
        let config = mounted("late", vec![bind(&absent, "/one"), bind(&below, "/two")], "true");
        let refused = pod.create(&config).await.unwrap_err().to_string();
        assert!(refused.contains("mounts[1].host_path"), "{refused}");
        assert!(!absent.exists(), "a source was made for a container that is refused");
        // What only the launch can find out: the directory that is made meets a file of the image.
        let (kept, late) = (root.join("kept"), root.join("late"));
        fs::create_dir(&kept).unwrap();
        let mounts = vec![bind(&kept.join("made"), "/one"), bind(&late.join("made"), "/etc/passwd")];
        let refused = pod.create(&mounted("meets", mounts, "true")).await.unwrap_err().to_string();
        assert!(refused.contains("/etc/passwd"), "{refused}");
        assert!(!late.exists() && fs::read_dir(&kept).unwrap().next().is_none(), "sources stay behind");
        assert!(pod.cri.containers().await.unwrap().is_empty());
        pod.end().await;
    });
    assert!(!root.join("nowhere").exists());
}

#[test]
fn a_file_goes_over_a_file_and_a_directory_over_a_directory() {
    let Some(world) = World::new().unwrap() else { return };
    let root = directory(&world, "sources");
    let socket = root.join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "kinds").await;
        let file = root.join("name");
        let mounts = vec![
            bind(&file, "/etc/group"),
            bind(&socket, "/run/some.sock"),
            bind(&root.join("fifo"), "/run/fifo"),
            bind(&root, "/etc/passwd.d"),
        ];
        let script = "cat /etc/group; cat /etc/passwd.d/name; test -S /run/some.sock && test -p /run/fifo && echo special; \
            grep -c root /etc/passwd";
        assert_eq!(pod.output(&mounted("main", mounts, script)).await, ["sources", "sources", "special", "1"]);
        for (name, mount) in
            [("file-over-directory", bind(&file, "/etc")), ("directory-over-file", bind(&root, "/etc/passwd"))]
        {
            let config = mounted(name, vec![mount], "true");
            let refused = match pod.create(&config).await {
                Err(error) => error.to_string(),
                Ok(id) => pod.cri.start(&id).await.unwrap_err().to_string(),
            };
            assert!(refused.contains("/etc") && refused.to_lowercase().contains("directory"), "{name}: {refused}");
        }
        pod.end().await;
    });
}
