//! Attacks of the catalogue by their numbers, where nothing else here is the same.

use e2e::image::{Entry, Image, Layer, busybox};
use e2e::pods::{secured, shell};
use e2e::process::memory;
use e2e::proto::NamespaceMode;
use e2e::runtime::Options;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

fn hashes(programs: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(programs).unwrap().flatten().filter(|entry| entry.path().is_file());
    let hash = |path: &Path| e2e::image::digest(&fs::read(path).unwrap());
    files.map(|entry| (entry.file_name().to_string_lossy().into_owned(), hash(&entry.path()))).collect()
}

/// Programs of the test's own: whoever succeeds spoils only these.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// S1: whoever runs `/proc/self/exe` runs what ran before it, and may keep that open until it can be written to.
#[test]
fn s1_no_program_of_the_node_is_changed_through_the_process_that_runs_it() {
    let held = tempfile::tempdir().unwrap();
    let programs = held.path().to_path_buf();
    let Some(world) = World::with(|options| {
        copy(&options.programs, &programs);
        Options { programs: programs.clone(), ..options }
    })
    .unwrap() else {
        return;
    };
    let before = hashes(&programs);
    assert!(before.contains_key("corten-shim"), "{before:?}");
    // It opens what every process runs, keeps what is none of its own programs, and writes to that for ever.
    let hunter = "own=$(readlink /proc/self/exe)\n\
        while :; do for p in /proc/[0-9]*; do\n\
          exe=$(readlink $p/exe) || continue; case $exe in \"$own\"|\"\") continue;; esac\n\
          exec 9<$p/exe || continue\n\
          echo \"caught $exe\"\n\
          for try in 1 2 3 4 5 6 7 8 9 10; do echo spoilt >/proc/self/fd/9 && echo \"reached $exe\"; usleep 20000; done\n\
          exec 9<&-\n\
        done 2>/dev/null; done";
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        for mode in [NamespaceMode::Pod, NamespaceMode::Container] {
            let name = format!("s1-{}", mode as i32);
            let mut pod = world.pod(&name).unwrap();
            let security = pod.linux.as_mut().unwrap().security_context.as_mut().unwrap();
            security.namespace_options.as_mut().unwrap().pid = mode.into();
            let inside = |config| {
                secured(config, |security| {
                    security.namespace_options.get_or_insert_default().pid = mode.into();
                })
            };
            let pod_id = cri.run_pod(&pod).await.unwrap();
            let id = cri.create(&pod_id, &inside(shell("hunter", BUSYBOX, hunter)), &pod).await.unwrap();
            cri.start(&id).await.unwrap();
            for round in 0..20 {
                // It may fail: what counts is what becomes of the programs.
                let _ = cri.exec(&id, &["/proc/self/exe", "--help"], 5).await;
                let mut own = inside(shell(&format!("self-{round}"), BUSYBOX, ""));
                own.command = vec!["/proc/self/exe".to_owned()];
                if let Ok(own) = cri.create(&pod_id, &own, &pod).await {
                    let _ = cri.start(&own).await;
                }
            }
            let log = fs::read_to_string(world.log(&name, "hunter")).unwrap_or_default();
            assert!(!log.contains("reached"), "{mode:?}: {log}");
            cri.end_pod(&pod_id).await.unwrap();
        }
    });
    assert_eq!(hashes(&programs), before);
}

/// S9: what an image calls its list of users.
#[test]
fn s9_a_list_of_users_that_is_no_small_file_is_refused_at_once() {
    let Some(world) = World::new().unwrap() else { return };
    let lists = [
        ("fifo", Entry::Fifo),
        ("huge", Entry::File(vec![b'x'; 64 << 20])),
        ("outside", Entry::Symlink("../../../../../../../../../../proc/kmsg".to_owned())),
        ("circle", Entry::Symlink("passwd".to_owned())),
    ];
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = world.pod("s9").unwrap();
        let pod_id = cri.run_pod(&pod).await.unwrap();
        for (name, entry) in lists {
            let base = busybox().unwrap();
            let top = Layer::default().with("etc/.wh.passwd", 0o644, Entry::File(Vec::new())).with(
                "etc/.wh.group",
                0o644,
                Entry::File(Vec::new()),
            );
            let evil =
                Layer::default().with("etc/passwd", 0o644, entry.clone()).with("etc/group", 0o644, entry);
            let mut layers = base.layers;
            layers.extend([top, evil]);
            world
                .registry
                .push(
                    &format!("users/{name}"),
                    "1",
                    &Image { layers, config: base.config, ..Image::default() },
                )
                .unwrap();
            let image = format!("registry.test/users/{name}:1");
            cri.pull(&image, None).await.unwrap();
            let before = memory(world.daemon.pid(), "VmRSS").unwrap();
            let begun = Instant::now();
            let named = secured(shell(name, &image, "exit 0"), |security| {
                security.run_as_username = "alice".to_owned();
            });
            let refused = cri.create(&pod_id, &named, &pod).await.unwrap_err().to_string();
            assert!(begun.elapsed() < Duration::from_secs(10), "{name}: {:?}", begun.elapsed());
            let grown = memory(world.daemon.pid(), "VmRSS").unwrap().saturating_sub(before);
            assert!(grown < 32 << 10, "{name}: {grown} KiB");
            assert!(refused.contains("alice") || refused.contains("passwd"), "{name}: {refused}");
        }
        cri.end_pod(&pod_id).await.unwrap();
    });
}

/// S21: the namespace of a network is that of its abstract sockets too.
#[test]
fn s21_a_pod_on_the_hosts_network_finds_no_abstract_socket() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut pod = world.pod("s21").unwrap();
        pod.hostname = String::new();
        let security = pod.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        security.namespace_options.as_mut().unwrap().network = NamespaceMode::Node.into();
        let pod_id = cri.run_pod(&pod).await.unwrap();
        let node = secured(shell("main", BUSYBOX, "exec sleep 1000"), |security| {
            security.namespace_options.get_or_insert_default().network = NamespaceMode::Node.into();
        });
        let id = cri.create(&pod_id, &node, &pod).await.unwrap();
        cri.start(&id).await.unwrap();
        let sockets = cri.shell(&id, "cat /proc/net/unix").await.unwrap();
        assert!(sockets.contains("Path"), "{sockets}");
        assert!(!sockets.contains(" @"), "{sockets}");
        cri.end_pod(&pod_id).await.unwrap();
    });
}

/// S23.
#[test]
fn s23_an_image_without_layers_has_an_empty_root_of_its_own() {
    let Some(world) = World::new().unwrap() else { return };
    let config = serde_json::json!({"Entrypoint": ["/bin/sh"]});
    world.registry.push("bare", "1", &Image { config, ..Image::default() }).unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = world.pod("s23").unwrap();
        let pod_id = cri.run_pod(&pod).await.unwrap();
        let bare = "registry.test/bare:1";
        if cri.pull(bare, None).await.is_ok()
            && let Ok(id) = cri.create(&pod_id, &shell("bare", bare, "ls /"), &pod).await
        {
            let started = cri.start(&id).await.unwrap_err().to_string();
            assert!(started.contains("/bin/sh"), "{started}");
        }
        // The next one is none the worse for it.
        let id = cri.create(&pod_id, &shell("next", BUSYBOX, "exit 7"), &pod).await.unwrap();
        cri.start(&id).await.unwrap();
        assert_eq!(wait_exited(&cri, &id, SOON).await.unwrap().exit_code, 7);
        cri.end_pod(&pod_id).await.unwrap();
    });
}
