//! Plugins of the Node Resource Interface and the kernel: what they want is found in its files, and what they hear has an
//! order, whatever happens side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::command;
use e2e::pods::{container, shell};
use e2e::proto::PodSandboxConfig;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use nri::api::{
    ContainerAdjustment, CreateContainerRequest, CreateContainerResponse, Event, KeyValue,
    LinuxContainerAdjustment, LinuxNetDevice, LinuxResources, OptionalString,
};
use nri::testing::{Manner, Plugin, answer};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SOCKET: &str = "/var/run/nri/nri.sock";
const SOON: Duration = Duration::from_secs(30);

fn world(extra: &str) -> Option<World> {
    let extra = extra.to_owned();
    World::with(|options| e2e::runtime::Options { kind: Kind::Corten, extra, ..options }).unwrap()
}

async fn join(manner: Manner) -> Plugin {
    Plugin::join(Path::new(SOCKET), manner).await.unwrap()
}

async fn pod(world: &World, cri: &Cri, name: &str) -> (String, PodSandboxConfig) {
    let config = world.pod(name).unwrap();
    cri.pull(BUSYBOX, None).await.unwrap();
    (cri.run_pod(&config).await.unwrap(), config)
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a plugin hears of one container.
fn of(plugin: &Plugin, id: &str) -> Vec<String> {
    plugin.events().into_iter().filter(|(_, of)| of == id).map(|(method, _)| method).collect()
}

/// Wants an adjustment of every container.
fn adjusting(index: &str, adjustment: ContainerAdjustment) -> Manner {
    let reply = CreateContainerResponse { adjust: Some(adjustment), ..CreateContainerResponse::default() };
    Manner::new(index, "adjusts")
        .answering(move |call| (call.method == "CreateContainer").then(|| answer(&reply)))
}

#[test]
fn each_container_s_events_have_their_order_and_plugins_their_turns() {
    const LIVES: usize = 24;
    const LIFE: [&str; 7] = [
        "CreateContainer",
        "ValidateContainerAdjustment",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "StopContainer",
        "RemoveContainer",
    ];
    let Some(world) = world("") else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        // In the order in which either plugin is asked.
        let heard = Arc::<Mutex<Vec<(String, String, &'static str)>>>::default();
        let noting = |index: &'static str| {
            let heard = heard.clone();
            let variable = KeyValue { key: format!("FROM_{index}"), value: "yes".to_owned() };
            let adjust = Some(ContainerAdjustment { env: vec![variable], ..Default::default() });
            let reply = CreateContainerResponse { adjust, ..CreateContainerResponse::default() };
            Manner::new(index, "notes").answering(move |call| {
                heard.lock().unwrap().push((call.method.clone(), call.container(), index));
                (call.method == "CreateContainer").then(|| answer(&reply))
            })
        };
        // They come in the other order.
        let second = join(noting("20")).await;
        let first = join(noting("10")).await;
        let (pod, config) = pod(&world, &cri, "crowd").await;
        let mut lives = JoinSet::new();
        for number in 0..LIVES {
            let (cri, pod, config) = (cri.clone(), pod.clone(), config.clone());
            lives.spawn(async move {
                let main = shell(&format!("c{number}"), BUSYBOX, "exit 0");
                let id = cri.create(&pod, &main, &config).await.unwrap();
                cri.start(&id).await.unwrap();
                wait_exited(&cri, &id, SOON).await.unwrap();
                cri.remove(&id).await.unwrap();
                id
            });
        }
        let ids = lives.join_all().await;
        for plugin in [&first, &second] {
            for id in &ids {
                assert_eq!(of(plugin, id), LIFE, "{:?}", plugin.events());
            }
        }
        let mut turns = BTreeMap::<(String, String), Vec<&str>>::new();
        for (method, id, index) in heard.lock().unwrap().iter().filter(|(_, id, _)| !id.is_empty()) {
            turns.entry((id.clone(), method.clone())).or_default().push(index);
        }
        // Validators are asked side by side.
        turns.retain(|(_, method), _| method != "ValidateContainerAdjustment");
        assert_eq!(turns.len(), LIVES * (LIFE.len() - 1));
        let odd: Vec<_> = turns.iter().filter(|(_, turns)| ***turns != ["10", "20"]).collect();
        assert!(odd.is_empty(), "{odd:?}");
        for call in second.calls().iter().filter(|call| call.method == "CreateContainer") {
            let asked: CreateContainerRequest = call.argument();
            assert!(asked.container.unwrap().env.contains(&"FROM_10=yes".to_owned()));
        }
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_start_that_fails_after_plugins_have_agreed_is_told_as_an_end_and_leaves_nothing() {
    let Some(mut world) = world("") else { return };
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let plugin = join(Manner::new("10", "sees")).await;
        let (pod, config) = pod(&world, &cri, "fails").await;
        let id = cri.create(&pod, &container("main", BUSYBOX, &["/no/such/program"]), &config).await.unwrap();
        cri.start(&id).await.unwrap_err();
        until("its end is told", || of(&plugin, &id).contains(&"StopContainer".to_owned())).await;
        cri.remove(&id).await.unwrap();
        let told = of(&plugin, &id);
        // It never ran.
        assert_eq!(told[2..], ["PostCreateContainer", "StartContainer", "StopContainer", "RemoveContainer"]);
        cri.end_pod(&pod).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
    assert!(world.daemon.is_alive());
}

/// A disk of this machine, as the kernel numbers it.
fn disk() -> Option<(PathBuf, String)> {
    let all = fs::read_dir("/sys/block").ok()?.filter_map(Result::ok);
    all.filter_map(|entry| {
        let number = fs::read_to_string(entry.path().join("dev")).ok()?;
        let node = Path::new("/dev").join(entry.file_name());
        let is_disk = fs::metadata(&node).ok()?.file_type().is_block_device();
        is_disk.then(|| (node, number.trim().to_owned()))
    })
    .next()
}

/// The file of a process's cgroup that has its rates of reading, and the line that is to be in it.
fn rates(pid: i64, number: &str) -> (PathBuf, String) {
    let all = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |controller: &str| {
        let line = all.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        line.filter(|parts| parts[1] == controller)
            .map(|parts| parts[2].trim_start_matches('/').to_owned())
            .next()
    };
    match of("blkio") {
        Some(path) => {
            let file = Path::new("/sys/fs/cgroup/blkio").join(path).join("blkio.throttle.read_bps_device");
            (file, format!("{number} 50000000"))
        }
        None => {
            let path = of("").unwrap();
            (Path::new("/sys/fs/cgroup").join(path).join("io.max"), format!("{number} rbps=50000000"))
        }
    }
}

#[test]
fn a_class_of_block_i_o_that_a_plugin_wants_is_in_the_kernel() {
    let Some((node, number)) = disk() else {
        return need::skip(need::Need::Kernel, "there is no disk here");
    };
    let file = std::env::temp_dir().join(format!("blockio-{}.yaml", std::process::id()));
    let text = format!("Classes:\n  slow:\n  - Devices: [{}]\n    ThrottleReadBps: 50M\n", node.display());
    fs::write(&file, text).unwrap();
    let Some(world) = world(&format!("[runtime]\nblockio_config_file = {file:?}\n")) else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let class = Some(OptionalString { value: "slow".to_owned() });
        let resources = Some(LinuxResources { blockio_class: class, ..LinuxResources::default() });
        let linux = Some(LinuxContainerAdjustment { resources, ..LinuxContainerAdjustment::default() });
        let manner = adjusting("10", ContainerAdjustment { linux, ..ContainerAdjustment::default() });
        let _plugin = join(manner.wanting(&[Event::CreateContainer])).await;
        let (pod, config) = pod(&world, &cri, "slow").await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let pid = cri.container_info(&id).await.unwrap()["pid"].as_i64().unwrap();
        let (rates, wanted) = rates(pid, &number);
        let found = fs::read_to_string(&rates).unwrap();
        assert!(found.lines().any(|line| line.starts_with(&wanted)), "{}: {found:?}", rates.display());
        cri.end_pod(&pod).await.unwrap();
    });
    fs::remove_file(file).unwrap();
}

fn ip(words: &[&str]) -> String {
    command::run(Command::new(tools::system("ip").unwrap()).args(words), SOON).unwrap()
}

#[test]
fn a_device_of_the_host_s_network_comes_back_after_kill_nine_as_it_was() {
    let Some(mut world) = world("") else { return };
    ip(&["link", "add", "given0", "type", "veth", "peer", "name", "kept0"]);
    ip(&["address", "add", "192.0.2.7/24", "dev", "given0"]);
    ip(&["link", "set", "given0", "up"]);
    let is_here = || ip(&["-o", "link"]).contains("given0");
    let cri = world.tokio.block_on(world.daemon.client()).unwrap();
    let (pod, id) = world.tokio.block_on(async {
        let device = LinuxNetDevice { name: "eth7".to_owned() };
        let net_devices = [("given0".to_owned(), device)].into();
        let linux = Some(LinuxContainerAdjustment { net_devices, ..LinuxContainerAdjustment::default() });
        let manner = adjusting("10", ContainerAdjustment { linux, ..ContainerAdjustment::default() });
        let _plugin = join(manner.wanting(&[Event::CreateContainer])).await;
        let (pod, config) = pod(&world, &cri, "has").await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let said = cri.shell(&id, "ip -o address show dev eth7").await.unwrap();
        assert!(said.contains("192.0.2.7/24"), "{said}");
        assert!(!is_here());
        (pod, id)
    });
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        // The container has it still, and it is no plugin's any more.
        let said = cri.shell(&id, "ip -o link show dev eth7").await.unwrap();
        assert!(said.contains("eth7") && !is_here(), "{said}");
        cri.stop(&id, 0).await.unwrap();
        cri.remove(&id).await.unwrap();
        assert!(is_here(), "it is lost");
        let after = ip(&["-o", "address", "show", "dev", "given0"]);
        assert!(after.contains("192.0.2.7/24"), "{after}");
        assert!(ip(&["-o", "link", "show", "dev", "given0"]).contains(",UP"), "it is down");
        cri.end_pod(&pod).await.unwrap();
    });
    ip(&["link", "delete", "given0"]);
}
