//! Classes of block I/O and of cache that annotations ask for.

use super::{World, container, pod};
use crate::EngineError;
use model::{ContainerConfig, ErrorKind, SandboxConfig};

/// A node with a class of each kind.
fn world() -> World {
    World::with(|settings, dir| {
        settings.blockio_config_file = dir.join("blockio.yaml");
        settings.resctrl = dir.join("resctrl");
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
