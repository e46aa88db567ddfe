//! What a request may ask for, and what becomes of it.

use super::{IMAGE, World, container, networked, pod};
use crate::EngineError;
use crate::supervisor::fake::{Act, Gate, Verb};
use model::{
    AbsPath, ContainerConfig, CpuShares, ErrorKind, IdMapping, ImageSpec, Mount, NamespaceMode, Resources,
    SysctlName, SysctlValue, UserNamespace,
};
use std::path::Path;
use wire::msg::ErrorCode;
use wire::plan::PidNamespace;

fn path(path: &Path) -> AbsPath {
    AbsPath::new(path.to_str().unwrap()).unwrap()
}

/// A container with a mount of the host's.
fn mounting(name: &str, host: &Path) -> ContainerConfig {
    let mount =
        Mount { container_path: path(Path::new("/mnt")), host_path: Some(path(host)), ..Mount::default() };
    ContainerConfig { mounts: vec![mount], ..container(name) }
}

/// A container with an image as a volume.
fn with_image(image: &str, sub_path: &str) -> ContainerConfig {
    let image = ImageSpec { image: image.to_owned(), ..ImageSpec::default() };
    let mount = Mount {
        container_path: path(Path::new("/image")),
        image: Some(image),
        image_sub_path: sub_path.to_owned(),
        ..Mount::default()
    };
    ContainerConfig { mounts: vec![mount], ..container("app") }
}

impl World {
    /// Makes a container as told; its id.
    fn create(&self, pod: &str, config: ContainerConfig) -> Result<String, EngineError> {
        let made = self.on(self.engine().containers().create_container(pod, config, None));
        made.map(|id| id.as_str().to_owned())
    }
}

#[test]
fn a_container_joins_the_pid_namespaces_that_it_may() {
    let world = World::new();
    let mut alone = pod("alone");
    alone.linux.security.namespaces.pid = NamespaceMode::Container;
    let alone = world.on(world.engine().pods().run_pod(alone, String::new())).unwrap();
    let shared = world.pod("shared");
    let running = world.running(&shared, "running");
    let mut config = container("created");
    config.security.namespaces.pid = NamespaceMode::Container;
    let created = world.create(alone.as_str(), config).unwrap();
    let create = |pod: &str, name: &str, mode, target: Option<&str>| {
        let mut config = container(name);
        config.security.namespaces.pid = mode;
        config.security.namespaces.target_id = target.map(str::to_owned);
        let id = world.create(pod, config)?;
        Ok::<_, EngineError>(world.node.plan(&id).unwrap().pid_namespace)
    };
    for (name, mode, target, word) in [
        ("a", NamespaceMode::Pod, None, "without a PID namespace"),
        ("b", NamespaceMode::Target, Some(running.as_str()), "another pod"),
        ("c", NamespaceMode::Target, Some(created.as_str()), "does not run"),
        ("d", NamespaceMode::Target, Some("absent"), "whole id"),
        ("e", NamespaceMode::Target, None, "whole id"),
    ] {
        let refused = create(alone.as_str(), name, mode, target).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{name}");
        assert!(refused.to_string().contains(word), "{name}: {refused}");
    }
    let joined = create(&shared, "f", NamespaceMode::Target, Some(&running)).unwrap();
    assert_eq!(joined, PidNamespace::Container(running));
    assert_eq!(create(&shared, "g", NamespaceMode::Pod, None).unwrap(), PidNamespace::Pod);
    assert_eq!(create(&shared, "h", NamespaceMode::Container, None).unwrap(), PidNamespace::New);
    assert_eq!(create(&shared, "i", NamespaceMode::Node, None).unwrap(), PidNamespace::Host);
}

#[test]
fn a_container_that_asks_for_what_is_not_there_is_refused_and_leaves_nothing() {
    let world = World::new();
    let (engine, one) = (world.engine(), world.pod("one"));
    let other = world
        .on(engine.containers().create_container(&one, container("app"), Some(pod("other"))))
        .unwrap_err();
    assert!(other.to_string().contains("names another pod"), "{other}");
    let mut config = container("app");
    config.image.image = "test.local/absent:1".to_owned();
    assert_eq!(world.create(&one, config).unwrap_err().kind(), ErrorKind::NotFound);
    let mut config = container("app");
    config.image.runtime_handler = "absent".to_owned();
    assert_eq!(world.create(&one, config).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut config = container("app");
    config.security.user = Some(model::User::Name("nobody-knows".to_owned()));
    assert!(world.create(&one, config).is_err());
    world.on(engine.pods().stop_pod(&one)).unwrap();
    assert_eq!(world.try_container(&one, "app").unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(world.node.count(Verb::Create), 0, "nobody was asked");
    world.on(engine.pods().remove_pod(&one)).unwrap();
    world.nothing_left();
}

#[test]
fn a_source_that_is_made_goes_with_a_container_that_does_not_come_to_be_and_with_no_other() {
    let world = World::new();
    let pod = world.pod("web");
    let (own, shared) = (world.path("volumes/own"), world.path("volumes/shared"));
    let id = world.create(&pod, mounting("keeps", &shared)).unwrap();
    assert!(shared.is_dir(), "what is not there is made");
    for (name, dir, stays) in [("a", &own, false), ("b", &shared, true)] {
        world.node.on(Verb::Create, Act::Refuse(ErrorCode::Setup, 22));
        world.create(&pod, mounting(name, dir)).unwrap_err();
        assert_eq!(dir.exists(), stays, "{name}");
    }
    world.on(world.engine().containers().remove_container(&id)).unwrap();
    assert!(shared.is_dir(), "it stays, as users expect");
}

#[test]
fn a_container_that_cannot_be_undone_is_listed_until_it_is_removed() {
    let world = World::new();
    let pod = world.pod("web");
    world.node.on(Verb::Create, Act::Refuse(ErrorCode::Setup, 22));
    world.node.on(Verb::Remove, Act::Refuse(ErrorCode::Io, 5));
    world.try_container(&pod, "app").unwrap_err();
    let listed = world.engine().containers().list_containers(&crate::ContainerFilter::default());
    assert_eq!(listed.len(), 1);
    let again = world.try_container(&pod, "app").unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert!(again.to_string().contains(listed[0].id.as_str()), "{again}");
    world.on(world.engine().containers().remove_container(&listed[0].id)).unwrap();
    world.container(&pod, "app");
}

#[test]
fn a_different_request_for_a_name_that_is_being_made_hears_of_the_holder() {
    let world = World::new();
    let pod = world.pod("web");
    let gate = Gate::new();
    world.node.on(Verb::Create, Act::Wait(gate.clone()));
    let (engine, held) = (world.engine(), pod.clone());
    let making =
        world.spawn(async move { engine.containers().create_container(&held, container("app"), None).await });
    world.on(gate.reached());
    let mut other = container("app");
    other.tty = true;
    let refused = world.create(&pod, other).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(refused.to_string().contains("app (attempt 0)"), "{refused}");
    gate.open();
    let id = world.on(making).unwrap().unwrap();
    assert!(refused.to_string().contains(id.as_str()), "{refused}");
}

#[test]
fn a_log_lies_below_the_pods_directory_and_the_way_there_is_marked() {
    let world = World::new();
    let mut config = pod("web");
    config.log_directory = Some(path(&world.path("logs")));
    let pod = world.on(world.engine().pods().run_pod(config, String::new())).unwrap();
    let made =
        world.create(pod.as_str(), ContainerConfig { log_path: "app/0.log".to_owned(), ..container("a") });
    let id = made.unwrap();
    let expected = world.path("logs").join("app/0.log").display().to_string();
    assert_eq!(world.engine().containers().container_status(&id).unwrap().log_path, expected);
    let told = String::from_utf8(world.node.plan(&id).unwrap().stdio.log_path).unwrap();
    assert!(told.ends_with("/logs/./app/0.log"), "{told}");
    let silent = world.container(pod.as_str(), "silent");
    assert!(world.node.plan(&silent).unwrap().stdio.log_path.is_empty());
}

#[test]
fn the_line_that_a_killed_supervisor_has_torn_is_taken_away() {
    let world = World::new();
    let mut config = pod("web");
    config.log_directory = Some(path(&world.path("logs")));
    let pod = world.on(world.engine().pods().run_pod(config, String::new())).unwrap();
    let logging = ContainerConfig { log_path: "0.log".to_owned(), ..container("app") };
    let id = world.create(pod.as_str(), logging).unwrap();
    world.on(world.engine().containers().start_container(&id)).unwrap();
    let log = world.path("logs").join("0.log");
    std::fs::create_dir_all(world.path("logs")).unwrap();
    std::fs::write(&log, "whole\n2026-1").unwrap();
    world.node.kill(pod.as_str());
    world.await_state(&id, "exited");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "whole\n");
}

#[test]
fn an_image_is_a_volume_and_held_also_by_the_next_daemon() {
    let mut world = World::new();
    let pod = world.pod("web");
    for (image, sub_path, field) in [(IMAGE, "absent", "image_sub_path"), ("test.local/none:1", "", "image")]
    {
        let refused = world.create(&pod, with_image(image, sub_path)).unwrap_err();
        let begin = format!("ImageVolumeMountFailed: config.mounts[0].{field}");
        assert!(refused.to_string().starts_with(&begin), "{refused}");
    }
    let id = world.create(&pod, with_image(IMAGE, "")).unwrap();
    let image = world.engine().images().image_status(IMAGE).unwrap().unwrap();
    let shown = |world: &World| world.engine().containers().container_status(&id).unwrap().image_volumes;
    assert_eq!(shown(&world), [(0, image.id.clone())].into());
    world.restart();
    assert_eq!(shown(&world), [(0, image.id.clone())].into());
    world.on(world.engine().images().remove_image(IMAGE)).unwrap();
    assert!(world.engine().images().image_status(IMAGE).unwrap().is_none());
    for layer in image.rootfs.directories() {
        assert!(layer.join("motd").exists(), "a container still uses it");
    }
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn layers_of_removed_images_go_with_the_containers_that_use_them_and_those_of_nobody_at_the_start() {
    let mut world = World::new();
    let other = "test.local/other:1";
    world.load(other, &serde_json::json!({}));
    let pod = world.pod("web");
    let id = world.create(&pod, with_image(other, "")).unwrap();
    let layers = [IMAGE, other].map(|name| {
        let image = world.engine().images().image_status(name).unwrap().unwrap();
        image.rootfs.directories()[0].clone()
    });
    assert_ne!(layers[0], layers[1]);
    for name in [IMAGE, other] {
        world.on(world.engine().images().remove_image(name)).unwrap();
    }
    world.kill();
    let nobodys = layers[0].with_file_name("0".repeat(64));
    std::fs::create_dir(&nobodys).unwrap();
    world.start();
    world.until("that of nobody goes", || !nobodys.exists());
    assert!(layers.iter().all(|layer| layer.join("motd").exists()), "{id} uses them");
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.until("they go too", || layers.iter().all(|layer| !layer.exists()));
}

#[test]
fn volumes_that_an_image_declares_are_made_and_go_with_the_container() {
    let world = World::new();
    let name = "test.local/volumes:1";
    world.load(name, &serde_json::json!({"Volumes": {"/var/data": {}}, "StopSignal": "SIGINT"}));
    let pod = world.pod("web");
    let mut config = container("app");
    config.image.image = name.to_owned();
    let id = world.create(&pod, config).unwrap();
    let volumes = world.path("data/containers").join(&id).join("volumes");
    assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 1);
    assert_eq!(world.engine().containers().container_status(&id).unwrap().stop_signal.get(), 2);
    let mut anonymous = world.node.plan(&id).unwrap().mounts.into_iter();
    assert!(anonymous.any(|mount| mount.target == b"/var/data"));
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn images_are_listed_found_and_removed_by_their_names() {
    let world = World::new();
    let engine = world.engine();
    assert_eq!(engine.images().list_images(None).unwrap().len(), 1);
    assert_eq!(engine.images().list_images(Some(IMAGE)).unwrap().len(), 1);
    assert!(engine.images().list_images(Some("test.local/other:1")).unwrap().is_empty());
    assert!(engine.images().image_status("test.local/other:1").unwrap().is_none());
    assert!(world.on(engine.images().pull_image("not a reference", None)).is_err());
    world.on(engine.images().remove_image("test.local/other:1")).unwrap();
    world.on(engine.images().remove_image(IMAGE)).unwrap();
    assert!(engine.images().list_images(None).unwrap().is_empty());
}

#[test]
fn the_limits_of_a_pod_are_set_where_its_cgroup_is_the_runtimes_own() {
    let world = World::new();
    let engine = world.engine();
    let (own, mut given) = (world.pod("own"), pod("given"));
    given.linux.cgroup_parent = "/kubepods/podx".to_owned();
    let given = world.on(engine.pods().run_pod(given, String::new())).unwrap();
    let shares = |shares| Some(Resources { cpu_shares: CpuShares::new(shares).ok(), ..Resources::default() });
    let update = |pod: &str, asked| world.on(engine.pods().update_pod(pod, None, shares(asked)));
    let told = |pod: &str| {
        let info: serde_json::Value =
            serde_json::from_str(&engine.pods().pod_info(pod).unwrap()["info"]).unwrap();
        info["resources"].to_string()
    };
    assert!(update(&own, 512).is_err(), "there is no such file");
    assert!(!told(&own).contains("512"), "what is not in force is not shown");
    let pod = engine.core.registry.pod(&own).unwrap();
    let dir = world.path("cgroup").join(pod.cgroup.parent().to_string().trim_start_matches('/'));
    let file = dir.join("cpu.shares");
    std::fs::write(&file, "999").unwrap();
    update(&own, 512).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "512");
    assert!(told(&own).contains("512"));
    std::fs::remove_file(&file).unwrap();
    update(given.as_str(), 256).unwrap();
    assert!(told(given.as_str()).contains("256"), "its owner sets it; here it is kept to be shown");
    world.on(engine.pods().stop_pod(&own)).unwrap();
    assert_eq!(update(&own, 300).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(update("absent", 300).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_change_of_a_pod_that_cannot_be_recorded_is_taken_back_from_its_cgroup() {
    let world = World::new();
    let engine = world.engine();
    let id = world.pod("web");
    let pod = engine.core.registry.pod(&id).unwrap();
    let dir = world.path("cgroup").join(pod.cgroup.parent().to_string().trim_start_matches('/'));
    let shares = dir.join("cpu.shares");
    std::fs::write(&shares, "999").unwrap();
    let record = world.path("state/pods").join(&id).join("pod.json");
    // In the place of what would be written first.
    let obstacle = record.with_extension(format!("json.{}.tmp", std::process::id()));
    std::fs::create_dir(&obstacle).unwrap();
    let change = Resources { cpu_shares: CpuShares::new(512).ok(), ..Resources::default() };
    assert!(world.on(engine.pods().update_pod(&id, None, Some(change))).is_err());
    assert_eq!(std::fs::read_to_string(&shares).unwrap(), "999", "nobody had asked for it before");
    std::fs::remove_dir(&obstacle).unwrap();
    std::fs::remove_file(shares).unwrap();
}

#[test]
fn kernel_parameters_that_cannot_be_set_are_refused_by_name() {
    let world = World::new();
    let (name, mut config) = ("fs.mqueue.nothing_such", networked("web"));
    config.linux.sysctls = [(SysctlName::new(name).unwrap(), SysctlValue::new("1").unwrap())].into();
    let refused = world.on(world.engine().pods().run_pod(config, String::new())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    assert!(refused.to_string().contains(name), "{refused}");
    assert_eq!(world.node.count(Verb::Spawn), 0);
}

#[test]
fn values_of_parameters_that_the_kernel_does_not_take_are_refused_by_name() {
    if !need::root("namespaces are made") {
        return;
    }
    let world = World::new();
    for (value, kind, told) in [
        (
            "x",
            ErrorKind::InvalidArgument,
            "config.linux.sysctls[\"kernel.sem\"]: the kernel does not take \"x\"",
        ),
        // What is wrong is something else then.
        ("32000\t1024000000\t500\t32000", ErrorKind::Internal, "sandbox"),
    ] {
        let mut config = networked("web");
        config.linux.sysctls =
            [(SysctlName::new("kernel.sem").unwrap(), SysctlValue::new(value).unwrap())].into();
        world.node.on(Verb::Sandbox, Act::Refuse(ErrorCode::Setup, 22));
        let refused = world.on(world.engine().pods().run_pod(config, String::new())).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains(told) || kind == ErrorKind::Internal, "{refused}");
        world.nothing_left();
    }
}

#[test]
fn a_pod_with_users_of_its_own_is_refused_where_the_host_has_none_to_give() {
    let world = World::new();
    let mut config = networked("web");
    let range = IdMapping { host_id: 100_000, container_id: 0, length: 65_536 };
    config.linux.security.namespaces.users = Some(UserNamespace { uids: range, gids: range });
    // The supervisor's program is this test, which cannot try it.
    let refused = world.on(world.engine().pods().run_pod(config, String::new())).unwrap_err();
    assert!(refused.to_string().contains("userns_options"), "{refused}");
    assert!(world.engine().status().info["userNamespaces"].starts_with("no: "));
}
