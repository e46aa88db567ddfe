//! Containers that trace, and that change nodes and keys of the host.

use e2e::client::Cri;
use e2e::image::{Image, busybox};
use e2e::pods::{container, secured};
use e2e::proto::{Capability, ContainerConfig, NamespaceMode, PodSandboxConfig, SecurityProfile};
use e2e::rootfs::Rootfs;
use e2e::world::{World, wait_exited};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

const IMAGE: &str = "registry.test/attacker:1";

/// Busybox with the tracer, and with the marker that it knows containers by.
fn attacker(world: &World) {
    let busybox = busybox().unwrap();
    let top = Rootfs::default().program(Path::new(env!("CARGO_BIN_EXE_tracer")), "tracer", 0o755).unwrap();
    let mut layers = busybox.layers;
    layers.push(top.file("marker", 0o644, Vec::new()).layer());
    let image = Image { layers, config: busybox.config, ..Image::default() };
    world.registry.push("attacker", "1", &image).unwrap();
}

/// The tracer at work for some seconds, with the capability that it needs.
fn tracing(seconds: u32) -> ContainerConfig {
    let null = fs::metadata("/dev/null").unwrap();
    let words = [seconds.to_string(), null.dev().to_string(), null.ino().to_string()];
    let words: Vec<&str> = ["/tracer"].into_iter().chain(words.iter().map(String::as_str)).collect();
    secured(container("tracer", IMAGE, &words), |security| {
        security.capabilities =
            Some(Capability { add_capabilities: vec!["SYS_PTRACE".to_owned()], ..Capability::default() });
    })
}

/// Waits for the tracer's first word.
async fn begun(world: &World, cri: &Cri, pod: &str, tracer: &str) {
    let log = world.log(pod, "tracer");
    for _ in 0..500 {
        if fs::read_to_string(&log).is_ok_and(|text| text.contains("ready")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the tracer does not begin: {:?}", cri.container_status(tracer).await);
}

/// What the tracer has to say: it saw processes before they were their programs, and nothing of the host's.
async fn verdict(world: &World, cri: &Cri, pod: &str, tracer: &str) {
    wait_exited(cri, tracer, Duration::from_secs(60)).await.unwrap();
    let text = fs::read_to_string(world.log(pod, "tracer")).unwrap();
    let reached: Vec<_> = text.lines().filter(|line| line.contains("reached")).collect();
    assert!(reached.is_empty(), "{}: {}", reached.len(), reached.join("\n"));
    let count = text.lines().find_map(|line| line.split_once("seen ")).unwrap().1;
    assert!(!count.starts_with("0 "), "seen {count}");
    println!("seen {count}");
}

async fn pod(world: &World, name: &str, pid: NamespaceMode) -> (Cri, PodSandboxConfig, String) {
    attacker(world);
    let cri = world.daemon.client().await.unwrap();
    cri.pull(IMAGE, None).await.unwrap();
    let mut config = world.pod(name).unwrap();
    let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    security.namespace_options.as_mut().unwrap().pid = pid.into();
    let id = cri.run_pod(&config).await.unwrap();
    (cri, config, id)
}

fn through_commands(name: &str, attacker: &ContainerConfig) {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let (cri, config, id) = pod(&world, name, NamespaceMode::Container).await;
        let tracer = cri.create(&id, attacker, &config).await.unwrap();
        cri.start(&tracer).await.unwrap();
        begun(&world, &cri, name, &tracer).await;
        for _ in 0..20 {
            let told = cri.exec(&tracer, &["/bin/echo", "told"], 20).await.unwrap();
            assert_eq!((told.exit_code, told.stdout.as_slice()), (0, b"told\n".as_slice()));
        }
        verdict(&world, &cri, name, &tracer).await;
        cri.end_pod(&id).await.unwrap();
    });
}

#[test]
fn a_tracer_reaches_nothing_through_commands() {
    through_commands("trace-exec", &tracing(4));
}

#[test]
fn a_tracer_makes_no_command_call_what_its_own_filter_forbids() {
    for no_new_privs in [false, true] {
        let attacker = secured(tracing(4), |security| {
            security.seccomp = Some(SecurityProfile::default());
            security.no_new_privs = no_new_privs;
        });
        through_commands(&format!("trace-filter-{no_new_privs}"), &attacker);
    }
}

/// While the tracer works, other containers of its PID namespace are made, wait, run, are joined by a command and go.
fn among_others(name: &str, mode: NamespaceMode) {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(come_and_go(&world, name, mode));
}

async fn come_and_go(world: &World, name: &str, mode: NamespaceMode) {
    let shared = if mode == NamespaceMode::Pod { mode } else { NamespaceMode::Container };
    let (cri, config, id) = pod(world, name, shared).await;
    let joining = |mut config_of: ContainerConfig, target: &str| {
        config_of = secured(config_of, |security| {
            let options = security.namespace_options.get_or_insert_default();
            options.pid = mode.into();
            target.clone_into(&mut options.target_id);
        });
        config_of
    };
    let mut tracing = tracing(5);
    if mode == NamespaceMode::Pod {
        tracing = joining(tracing, "");
    }
    let tracer = cri.create(&id, &tracing, &config).await.unwrap();
    cri.start(&tracer).await.unwrap();
    begun(world, &cri, name, &tracer).await;
    let target = if mode == NamespaceMode::Target { tracer.as_str() } else { "" };
    for number in 0..8 {
        let other = container(&format!("other-{number}"), IMAGE, &["/bin/sleep", "1000"]);
        let other = cri.create(&id, &joining(other, target), &config).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        // Every fourth is removed as it waits.
        if number % 4 != 3 {
            cri.start(&other).await.unwrap();
            let pid = cri.container_info(&other).await.unwrap()["pid"].as_i64().unwrap();
            assert!(fs::metadata(format!("/proc/{pid}/root/marker")).is_ok(), "{pid} is not in its root");
            let told =
                cri.shell(&other, "cat /proc/$$/comm /proc/[0-9]*/comm 2>/dev/null; true").await.unwrap();
            let shows = told.starts_with("sh\n") && told.lines().any(|name| name == "tracer");
            assert!(shows, "its procfs shows another PID namespace: {told}");
        }
        cri.remove(&other).await.unwrap();
    }
    verdict(world, &cri, name, &tracer).await;
    cri.end_pod(&id).await.unwrap();
}

#[test]
fn a_tracer_reaches_nothing_through_containers_of_its_pod() {
    among_others("trace-pod", NamespaceMode::Pod);
}

#[test]
fn a_tracer_reaches_nothing_through_containers_that_join_it() {
    among_others("trace-target", NamespaceMode::Target);
}

#[test]
fn a_target_lends_no_procfs_but_that_of_its_namespace() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let (cri, config, id) = pod(&world, "lend", NamespaceMode::Container).await;
        let lies = [
            "mount -t tmpfs none /proc",
            "mount --bind /proc/sys /proc",
            "unshare -p -f /bin/sh -c 'mount -t proc none /proc; touch /over; exec sleep 1000' & \
             while [ ! -e /over ]; do sleep 0.02; done",
            "mount -t tmpfs none /proc/1",
        ];
        for (number, lie) in lies.iter().enumerate() {
            let script = format!("{lie}; touch /done; exec sleep 1000");
            let name = format!("liar-{number}");
            let liar = secured(container(&name, IMAGE, &["/bin/sh", "-c", &script]), |security| {
                security.seccomp =
                    Some(e2e::proto::SecurityProfile { profile_type: 1, localhost_ref: String::new() });
                security.capabilities = Some(Capability {
                    add_capabilities: vec!["SYS_ADMIN".to_owned()],
                    ..Capability::default()
                });
            });
            let liar = cri.create(&id, &liar, &config).await.unwrap();
            cri.start(&liar).await.unwrap();
            let told =
                cri.shell(&liar, "for i in $(seq 300); do [ -e /done ] && break; sleep 0.02; done; ls /done");
            assert_eq!(told.await.unwrap(), "/done\n");
            let other = secured(container("joins", IMAGE, &["/bin/sleep", "1000"]), |security| {
                let options = security.namespace_options.get_or_insert_default();
                options.pid = NamespaceMode::Target.into();
                options.target_id.clone_from(&liar);
            });
            let refused = cri.create(&id, &other, &config).await.unwrap_err().to_string();
            assert!(refused.contains("target container's procfs"), "{lie}: {refused}");
            cri.remove(&liar).await.unwrap();
        }
        cri.end_pod(&id).await.unwrap();
    });
}

/// Mode, owner and times of the node that a path leads to.
fn node(path: &str) -> (u32, u32, u32, [(i64, i64); 3]) {
    let found = fs::metadata(path).unwrap();
    let times = [
        (found.atime(), found.atime_nsec()),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    ];
    (found.mode(), found.uid(), found.gid(), times)
}

/// Changes everything that a null device leads to: what lies over masked files, standard streams, device nodes.
const CHANGES: &str = "for path in /proc/keys /proc/timer_list /proc/kcore /proc/self/fd/0 /dev/null /dev/zero /dev/full \
     /dev/random /dev/urandom /dev/tty; do \
     chmod 0676 $path; chown 7:7 $path; touch -t 200001010000 $path; touch $path; head -c 1 $path; done > /tmp/said 2>&1; \
     echo done";

#[test]
fn no_node_of_the_host_is_changed() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let (cri, config, id) = pod(&world, "nodes", NamespaceMode::Container).await;
        let nodes = ["null", "zero", "full", "tty"].map(|name| format!("/dev/{name}"));
        let read = || nodes.iter().map(|path| node(path)).collect::<Vec<_>>();
        let before = read();
        let script = format!("{CHANGES}; echo begun; exec sleep 1000");
        let all = |name: &str| {
            secured(container(name, IMAGE, &["/bin/sh", "-c", &script]), |security| {
                let added = ["SYS_ADMIN", "MKNOD"].map(str::to_owned).to_vec();
                security.capabilities = Some(Capability { add_capabilities: added, ..Capability::default() });
            })
        };
        for config_of in [container("plain", IMAGE, &["/bin/sh", "-c", &script]), all("more")] {
            let config_of = secured(config_of, |security| {
                security.masked_paths =
                    ["/proc/keys", "/proc/kcore", "/proc/timer_list"].map(str::to_owned).to_vec();
            });
            let name = config_of.metadata.as_ref().unwrap().name.clone();
            let container = cri.create(&id, &config_of, &config).await.unwrap();
            cri.start(&container).await.unwrap();
            let log = world.log("nodes", &name);
            for _ in 0..1000 {
                if fs::read_to_string(&log).is_ok_and(|text| text.contains("begun")) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(cri.shell(&container, CHANGES).await.unwrap(), "done\n");
            let masks =
                cri.shell(&container, "grep -E ' /proc/(keys|kcore) ' /proc/self/mountinfo").await.unwrap();
            assert!(masks.lines().count() >= 1, "{masks}");
            assert!(!masks.contains("master:") && !masks.contains("shared:"), "a host's peer: {masks}");
            let writes =
                cri.shell(&container, "echo x > /proc/keys && cat /proc/keys && echo works").await.unwrap();
            assert_eq!(writes, "works\n", "a mask is a null device");
        }
        assert_eq!(read(), before, "{nodes:?}");
        cri.end_pod(&id).await.unwrap();
    });
}

#[test]
fn a_container_has_a_keyring_of_its_own() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let (cri, config, id) = pod(&world, "keys", NamespaceMode::Container).await;
        let mut keyrings = Vec::new();
        for name in ["one", "two"] {
            let config_of = secured(container(name, IMAGE, &["/bin/sleep", "1000"]), |security| {
                security.seccomp =
                    Some(e2e::proto::SecurityProfile { profile_type: 1, localhost_ref: String::new() });
                security.masked_paths = Vec::new();
            });
            let container = cri.create(&id, &config_of, &config).await.unwrap();
            cri.start(&container).await.unwrap();
            let pid = cri.container_info(&container).await.unwrap()["pid"].as_i64().unwrap();
            let commands = [session(&cri, &container).await, session(&cri, &container).await];
            assert_eq!(commands[0], commands[1], "commands share the container's");
            assert!(commands[0].contains(&format!("_ses.{container}")), "{commands:?} of {pid}");
            keyrings.push(commands[0].clone());
        }
        assert_ne!(keyrings[0], keyrings[1]);
        cri.end_pod(&id).await.unwrap();
    });
}

/// The session keyring of a command, as the kernel lists it to who has it: number and name.
async fn session(cri: &Cri, container: &str) -> String {
    let told = cri.exec(container, &["/tracer", "keyring"], 20).await.unwrap();
    String::from_utf8(told.stdout).unwrap()
}
