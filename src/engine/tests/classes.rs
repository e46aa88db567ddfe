//! Classes of block I/O and of cache that annotations ask for.

use super::{World, container, pod};
use crate::{EngineError, Gravity};
use model::{ContainerConfig, ErrorKind, SandboxConfig};
use oci::classes::Resctrl;

/// A node with a class of each kind.
fn world() -> World {
    World::with(|settings, dir| {
        settings.blockio_config_file = dir.join("blockio.yaml");
        settings.resctrl = Resctrl { root: dir.join("resctrl"), mounts: dir.join("mounts") };
        std::fs::create_dir_all(dir.join("resctrl/gold")).unwrap();
        for file in ["resctrl/schemata", "resctrl/gold/tasks"] {
            std::fs::write(dir.join(file), "").unwrap();
        }
        std::fs::write(dir.join("blockio.yaml"), "Classes: {slow: [{Devices: [/dev/null], Weight: 80}]}")
            .unwrap();
    })
}

fn asking(world: &World, name: &str, asked: &[(&str, &str)]) -> Result<String, EngineError> {
    let annotations = asked.iter().map(|(key, class)| ((*key).to_owned(), (*class).to_owned())).collect();
    let config = SandboxConfig { annotations, ..pod(name) };
    let pod = world.on(world.engine().pods().run_pod(config, String::new())).unwrap();
    let made = world.on(world.engine().containers().create_container(pod.as_str(), container("app"), None));
    made.map(|id| id.as_str().to_owned())
}

#[test]
fn a_class_of_cache_is_in_the_plans_of_a_container_and_its_commands() {
    let mut world = world();
    let id = asking(&world, "gold", &[("rdt.resources.beta.kubernetes.io/container.app", "gold")]).unwrap();
    let group = Some(world.path("resctrl/gold").into_os_string().into_encoded_bytes());
    assert_eq!(world.node.plan(&id).unwrap().cgroup.resctrl, group);
    world.on(world.engine().containers().start_container(&id)).unwrap();
    let command = |world: &World| {
        world.on(world.engine().containers().exec_sync(&id, super::command("true"), None)).unwrap();
        world.node.commands().pop().unwrap().cgroup.resctrl
    };
    assert_eq!(command(&world), group);
    world.restart();
    assert_eq!(command(&world), group, "after a restart");
    let plain = asking(&world, "plain", &[]).unwrap();
    assert_eq!(world.node.plan(&plain).unwrap().cgroup.resctrl, None);
}

#[test]
fn a_class_that_is_not_there_is_refused_unless_it_is_to_be_passed_over() {
    let world = world();
    let asked = [("blockio.resources.beta.kubernetes.io/pod", "fast")];
    let error = asking(&world, "a", &asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(crate::error::chain(&error).to_string().contains("block I/O class: \"fast\" is not in "));
    let mut settings = world.settings.clone();
    settings.blockio_config_file = "/no/such/file".into();
    let error = world.on(world.engine().reconfigure(settings.clone())).unwrap_err();
    assert!(crate::error::chain(&error).to_string().contains("/no/such/file"), "the former settings stay");
    settings.blockio_config_file = std::path::PathBuf::new();
    world.on(world.engine().reconfigure(settings.clone())).unwrap();
    let error = asking(&world, "b", &asked).unwrap_err();
    assert!(crate::error::chain(&error).to_string().contains("runtime.blockio_config_file"));
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "the node has to be mended, not the request");
    settings.ignore_blockio_not_enabled_errors = true;
    world.on(world.engine().reconfigure(settings)).unwrap();
    asking(&world, "c", &asked).unwrap();
}

#[test]
fn a_class_of_block_i_o_is_in_the_spec() {
    let world = world();
    let own = [("io.kubernetes.cri.blockio-class".to_owned(), "slow".to_owned())];
    let config = ContainerConfig { annotations: own.into(), ..container("app") };
    let pod = world.pod("web");
    let id = world.on(world.engine().containers().create_container(&pod, config, None)).unwrap();
    let info = world.on(world.engine().containers().container_info(id.as_str())).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    // Of no block device.
    assert_eq!(info["runtimeSpec"]["linux"]["resources"]["blockIO"], serde_json::json!({}));
}

/// What the directory of a kernel with the third level of caches tells.
fn with_caches(dir: &std::path::Path) {
    std::fs::create_dir_all(dir.join("resctrl/info/L3")).unwrap();
    for (file, text) in [
        ("info/L3/cbm_mask", "ff"),
        ("info/L3/min_cbm_bits", "1"),
        ("info/L3/num_closids", "4"),
        ("schemata", "L3:0=ff\n"),
    ] {
        std::fs::write(dir.join("resctrl").join(file), text).unwrap();
    }
}

#[test]
fn classes_of_cache_are_made_as_their_file_says_at_the_start_and_with_other_settings() {
    let mut world = World::with(|settings, dir| {
        settings.rdt_config_file = dir.join("rdt.yaml");
        settings.resctrl = Resctrl { root: dir.join("resctrl"), mounts: dir.join("mounts") };
        with_caches(dir);
        let text = "partitions: {p: {l3Allocation: 50%, classes: {gold: }}}";
        std::fs::write(dir.join("rdt.yaml"), text).unwrap();
    });
    let schemata = |world: &World, class: &str| std::fs::read_to_string(world.path(class).join("schemata"));
    assert_eq!(schemata(&world, "resctrl/gold").unwrap(), "L3:0=f\n");
    std::fs::write(world.path("resctrl/gold/tasks"), "").unwrap();
    let asked = [("rdt.resources.beta.kubernetes.io/pod", "gold")];
    let id = asking(&world, "a", &asked).unwrap();
    let group = Some(world.path("resctrl/gold").into_os_string().into_encoded_bytes());
    assert_eq!(world.node.plan(&id).unwrap().cgroup.resctrl, group);
    // Another file, and after it one that is wrong: the former settings stay, and their groups.
    let other = world.path("other.yaml");
    std::fs::write(&other, "partitions: {p: {l3Allocation: 25%, classes: {gold: , iron: }}}").unwrap();
    let mut settings = world.settings.clone();
    settings.rdt_config_file.clone_from(&other);
    world.on(world.engine().reconfigure(settings.clone())).unwrap();
    assert_eq!(schemata(&world, "resctrl/gold").unwrap(), "L3:0=3\n");
    assert_eq!(schemata(&world, "resctrl/iron").unwrap(), "L3:0=3\n");
    settings.rdt_config_file = world.path("no.yaml");
    let error = world.on(world.engine().reconfigure(settings.clone())).unwrap_err();
    assert!(crate::error::chain(&error).to_string().contains("no.yaml: No such file"));
    asking(&world, "b", &asked).unwrap();
    // A daemon that starts again finds them, and knows which are its own.
    world.restart();
    assert_eq!(schemata(&world, "resctrl/gold").unwrap(), "L3:0=f\n");
    std::fs::write(world.settings.rdt_config_file.clone(), "partitions: {}").unwrap();
    world.on(world.engine().make_groups());
    assert!(
        world.path("resctrl/gold").exists(),
        "it is no directory of the kernel's, which could be removed"
    );
    std::fs::write(world.path("resctrl/gold/tasks"), "1\n").unwrap();
    std::fs::write(world.settings.rdt_config_file.clone(), "partitions: {p: {classes: {gold: }}}").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.engine().follow_groups();
    assert_eq!(schemata(&world, "resctrl/gold").unwrap(), "L3:0=ff\n");
}

#[test]
fn a_file_of_classes_of_cache_is_told_of_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rdt.yaml");
    let settings = crate::Settings {
        rdt_config_file: file.clone(),
        resctrl: Resctrl { root: dir.path().join("resctrl"), mounts: dir.path().join("mounts") },
        ..crate::Settings::default()
    };
    let told = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let found = settings.check_classes().into_iter();
        found.map(|found| (found.setting.key, found.setting.problem, found.gravity)).collect::<Vec<_>>()
    };
    let key = || "runtime.rdt_config_file".to_owned();
    let lack = told("partitions: {p: {l3Allocation: 50%, classes: {gold: }}}");
    assert_eq!((lack.len(), &lack[0].0, lack[0].2), (1, &key(), Gravity::Noted));
    assert!(lack[0].1.starts_with("the host has no resctrl filesystem at "), "{lack:?}");
    let wrong = told("partitions: {p: {l3Allocation: x}}");
    assert_eq!((wrong.len(), &wrong[0].0, wrong[0].2), (1, &key(), Gravity::Tolerated));
    assert!(wrong[0].1.contains("rdt.yaml: partition \"p\": l3Allocation: all: unified: \"x\""), "{wrong:?}");
    with_caches(dir.path());
    assert_eq!(told("partitions: {p: {l3Allocation: 50%, classes: {gold: }}}"), []);
    let wrong = told("partitions: {p: {l3Allocation: '0x100'}}");
    assert!(wrong[0].1.contains("0x100 is not within 0xff") && wrong[0].2 == Gravity::Tolerated, "{wrong:?}");
    assert!(!dir.path().join("resctrl/gold").exists(), "a check makes nothing");
}

#[test]
fn what_the_node_lacks_or_has_wrong_is_no_fault_of_the_request() {
    let world = world();
    let kind = |name: &str, asked: &[(&str, &str)]| asking(&world, name, asked).unwrap_err().kind();
    let block_io = [("blockio.resources.beta.kubernetes.io/pod", "slow")];
    let rdt = |class| [("rdt.resources.beta.kubernetes.io/pod", class)];
    assert_eq!(kind("a", &rdt("iron")), ErrorKind::InvalidArgument, "a group that is not there");
    assert_eq!(kind("b", &rdt("a/b")), ErrorKind::InvalidArgument);
    std::fs::write(world.path("blockio.yaml"), "Classes: {slow: [{Weight: 5}]}").unwrap();
    assert_eq!(kind("c", &block_io), ErrorKind::FailedPrecondition);
    std::fs::remove_file(world.path("blockio.yaml")).unwrap();
    assert_eq!(kind("d", &block_io), ErrorKind::FailedPrecondition);
    std::fs::remove_file(world.path("resctrl/schemata")).unwrap();
    assert_eq!(kind("e", &rdt("gold")), ErrorKind::FailedPrecondition);
}

#[test]
fn files_that_are_wrong_at_the_start_refuse_their_classes_until_they_are_right() {
    let mut world = World::with(|settings, dir| {
        settings.blockio_config_file = dir.join("blockio.yaml");
        settings.rdt_config_file = dir.join("rdt.yaml");
        settings.resctrl = Resctrl { root: dir.join("resctrl"), mounts: dir.join("mounts") };
        with_caches(dir);
        std::fs::write(dir.join("rdt.yaml"), "partitions: {p: {l3Allocation: x}}").unwrap();
    });
    world.restart();
    for (name, kind, file) in [("a", "blockio", "blockio.yaml"), ("b", "rdt", "rdt.yaml")] {
        let key = format!("{kind}.resources.beta.kubernetes.io/pod");
        let error = asking(&world, name, &[(&key, "gold")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{kind}");
        assert!(crate::error::chain(&error).to_string().contains(file), "{error:?}");
    }
    asking(&world, "plain", &[]).unwrap();
    // Other settings are taken over meanwhile.
    let settings = crate::Settings { cdi_spec_dirs: Vec::new(), ..world.settings.clone() };
    world.on(world.engine().reconfigure(settings)).unwrap();
    std::fs::write(world.path("blockio.yaml"), "Classes: {gold: [{Devices: [/dev/null], Weight: 80}]}")
        .unwrap();
    let text = "partitions: {p: {l3Allocation: 50%, classes: {gold: }}}";
    std::fs::write(world.path("rdt.yaml"), text).unwrap();
    asking(&world, "c", &[("blockio.resources.beta.kubernetes.io/pod", "gold")]).unwrap();
    world.on(world.engine().look_again());
    assert!(world.path("resctrl/gold").exists());
}

#[test]
fn devices_of_classes_that_are_not_there_are_noted_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blockio.yaml");
    let text = "Classes:\n  a:\n  - Weight: 80\n  - Devices: [/dev/no-such, /dev/null]\n    ThrottleReadBps: 1M\n  \
                b: [{Devices: [/dev/no-such], Weight: 90}]\n  c: [{Weight: 70}]\n";
    std::fs::write(&file, text).unwrap();
    let settings = crate::Settings { blockio_config_file: file, ..crate::Settings::default() };
    let told: Vec<String> = settings
        .check_classes()
        .into_iter()
        .filter(|found| found.gravity == Gravity::Noted && found.setting.key == "runtime.blockio_config_file")
        .map(|found| found.setting.problem)
        .collect();
    let lacks = |class: &str, device: &str| {
        format!("class {class:?}: this host has no block device {device}: its limits there are not applied")
    };
    assert_eq!(told, [lacks("a", "/dev/no-such"), lacks("a", "/dev/null"), lacks("b", "/dev/no-such")]);
    let classes = settings.classes(dir.path());
    assert_eq!((classes.absent_devices().unwrap().len(), classes.absent_devices().unwrap().len()), (3, 0));
}
