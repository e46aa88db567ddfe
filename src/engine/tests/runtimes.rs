//! Pods of other handlers: an OCI runtime's command line, and devices that bring hooks.

use super::{World, container, pod};
use crate::supervisor::fake::{Act, Gate, Verb};
use crate::{HandlerKind, HandlerSettings};
use model::{Bytes, ContainerConfig, ErrorKind, IdMapping, Mount, Resources, UserNamespace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wire::msg::ErrorCode;

/// A runtime that notes what it is asked for, says what it can, and fails to delete where it is told to.
const RUNTIME: &str = r#"echo "$@" >>"$0.calls"
case " $* " in
*" features "*) echo '{"mountOptions":["rro"],"linux":{"namespaces":["mount"]}}' ;;
*" delete "*) [ ! -e "$0.broken" ] ;;
esac
"#;

fn program(world: &World) -> PathBuf {
    world.path("runtime.sh")
}

/// A world with such a runtime under the name `other`.
fn world() -> World {
    World::with(|settings, dir| {
        let script = dir.join("runtime.sh");
        std::fs::write(&script, RUNTIME).unwrap();
        let handler = |binary: &str| HandlerSettings {
            kind: HandlerKind::Oci,
            binary: binary.into(),
            root: PathBuf::new(),
            args: vec![script.display().to_string()],
            rlimits: BTreeMap::new(),
            privileged_without_host_devices: false,
            privileged_without_host_devices_all_devices_allowed: false,
        };
        settings.handlers.insert("other".to_owned(), handler("/bin/sh"));
        settings.handlers.insert("gone".to_owned(), handler("/nowhere/runtime"));
        settings.handlers.insert("directory".to_owned(), handler("/etc"));
    })
}

fn other(world: &World) -> String {
    let made = world.on(world.engine().pods().run_pod(pod("web"), "other".to_owned()));
    made.unwrap().as_str().to_owned()
}

fn words(command: &[Vec<u8>]) -> String {
    command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}

fn calls(world: &World, verb: &str) -> usize {
    let text = std::fs::read_to_string(program(world).with_extension("sh.calls")).unwrap_or_default();
    text.lines().filter(|line| line.split(' ').any(|word| word == verb)).count()
}

#[test]
fn a_container_of_another_runtime_finds_its_bundle_and_leaves_nothing() {
    let world = world();
    let pod = other(&world);
    let id = world.running(&pod, "app");
    let runtime = world.node.plan(&id).unwrap().runtime.unwrap();
    let bundle = world.path("state/pods").join(&pod).join("containers").join(format!("{id}.bundle"));
    assert_eq!(runtime.directory, bundle.as_os_str().as_encoded_bytes());
    let (create, start) = (words(&runtime.create), words(&runtime.start));
    assert!(create.starts_with("/bin/sh ") && create.ends_with(&id), "{create}");
    assert!(create.contains(" create --bundle ") && !create.contains("console"), "{create}");
    assert!(start.ends_with(&format!(" start {id}")), "{start}");
    let spec = std::fs::read_to_string(bundle.join("config.json")).unwrap();
    assert!(spec.contains(r#""ociVersion":"1.0.2""#), "{spec}");
    world.on(world.engine().containers().remove_container(&id)).unwrap();
    assert_eq!(calls(&world, "delete"), 1);
    assert!(!bundle.exists());
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_half_made_container_of_another_runtime_leaves_no_bundle() {
    let mut world = world();
    let pod = other(&world);
    world.node.on(Verb::Create, Act::Hang);
    let (engine, held) = (world.engine(), pod.clone());
    world.spawn(async move { engine.containers().create_container(&held, container("app"), None).await });
    world.until("it is asked for", || world.node.count(Verb::Create) == 1);
    world.kill();
    let containers = world.path("state/pods").join(&pod).join("containers");
    let bundles = || {
        let names = std::fs::read_dir(&containers).unwrap().flatten().map(|entry| entry.path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == "bundle")).count()
    };
    assert_eq!(bundles(), 1);
    world.start();
    assert_eq!((bundles(), calls(&world, "delete")), (0, 1), "the runtime has deleted what it had of it");
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_runtime_that_fails_keeps_nothing_from_going() {
    let world = world();
    let pod = other(&world);
    let id = world.running(&pod, "app");
    let state = world.path("state/handlers/other").join(&id);
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(program(&world).with_extension("sh.broken"), "").unwrap();
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    assert!(!state.exists(), "what the runtime knew of it is gone too");
    world.nothing_left();
}

#[test]
fn a_command_is_the_runtimes_with_files_that_go_and_a_failure_that_says_why() {
    let world = world();
    let id = world.running(&other(&world), "app");
    let engine = world.engine();
    world.on(engine.containers().exec_sync(&id, super::command("true"), None)).unwrap();
    let plan = world.node.commands().pop().unwrap();
    let line = words(&plan.runtime);
    assert!(line.contains(" exec --process ") && line.ends_with(&id), "{line}");
    let path = |option: &str| {
        let at = plan.runtime.iter().position(|word| word == option.as_bytes()).unwrap();
        PathBuf::from(String::from_utf8(plan.runtime[at + 1].clone()).unwrap())
    };
    assert!(!path("--process").exists(), "it goes with the command");
    // A command that fails is one that ran, but where the runtime has written why it did not.
    world.node.end_commands_with(1);
    assert_eq!(
        world.on(engine.containers().exec_sync(&id, super::command("false"), None)).unwrap().exit_code,
        1
    );
    let gate = Gate::new();
    world.node.on(Verb::Exec, Act::Late(gate.clone()));
    let (held, asked) = (engine.clone(), id.clone());
    let running =
        world.spawn(async move { held.containers().exec_sync(&asked, super::command("x"), None).await });
    world.on(gate.reached());
    let plan = world.node.commands().pop().unwrap();
    let at = plan.runtime.iter().position(|word| word == b"--log").unwrap();
    let log = Path::new(std::str::from_utf8(&plan.runtime[at + 1]).unwrap()).to_owned();
    std::fs::write(log, r#"{"level":"error","msg":"no such program"}"#).unwrap();
    gate.open();
    let failed = world.on(running).unwrap().unwrap_err();
    assert!(failed.to_string().ends_with("no such program"), "{failed}");
    assert_eq!(failed.command_exit_code(), Some(126));
}

#[test]
fn a_command_in_a_terminal_has_its_size_and_name() {
    let world = world();
    let id = world.running(&other(&world), "app");
    let streams = crate::Streams { stdin: true, stdout: true, stderr: false };
    let exec = crate::OpenExec { command: super::command("sh"), tty: true, streams, size: Some((99, 33)) };
    let gate = Gate::new();
    world.node.on(Verb::WaitExec, Act::Wait(gate.clone()));
    let session = world.on(world.engine().containers().open_exec(&id, exec)).unwrap();
    let plan = world.node.commands().pop().unwrap();
    let at = plan.runtime.iter().position(|word| word == b"--process").unwrap();
    let process = std::fs::read_to_string(std::str::from_utf8(&plan.runtime[at + 1]).unwrap()).unwrap();
    assert!(process.contains(r#""width":99"#) && process.contains("TERM=xterm"), "{process}");
    gate.open();
    assert_eq!(world.on(session.end.wait()).unwrap(), 0);
}

#[test]
fn why_a_runtime_failed_it_has_written_down() {
    let world = world();
    let pod = other(&world);
    let id = world.container(&pod, "app");
    let bundle = world.path("state/pods").join(&pod).join("containers").join(format!("{id}.bundle"));
    std::fs::write(bundle.join("log.json"), r#"{"level":"error","msg":"the moon is full"}"#).unwrap();
    world.node.on(Verb::Start, Act::Refuse(ErrorCode::Setup, 22));
    let failed = world.on(world.engine().containers().start_container(&id)).unwrap_err();
    assert!(failed.to_string().ends_with(": the moon is full"), "{failed}");
}

#[test]
fn a_limit_of_memory_that_is_too_small_is_the_requests_fault() {
    let world = world();
    let pod = other(&world);
    for (limit, errno, kind) in [
        (4096, 12, ErrorKind::InvalidArgument),
        (4096, 22, ErrorKind::Internal),
        (64 << 20, 12, ErrorKind::Internal),
    ] {
        let resources = Resources { memory_limit: Bytes::new(limit).ok(), ..Resources::default() };
        let config = ContainerConfig { resources, ..container("app") };
        world.node.on(Verb::Create, Act::Refuse(ErrorCode::Setup, errno));
        let failed = world.on(world.engine().containers().create_container(&pod, config, None)).unwrap_err();
        assert_eq!(failed.kind(), kind, "{limit} {errno}: {failed}");
    }
}

#[test]
fn what_a_runtime_has_not_got_is_refused_before_anything_is_made() {
    let world = world();
    let range = IdMapping { host_id: 100_000, container_id: 0, length: 65_536 };
    let mut users = pod("users");
    users.linux.security.namespaces.users = Some(UserNamespace { uids: range, gids: range });
    for (config, handler, word) in [
        (users, "other", "has no user namespaces"),
        (pod("web"), "gone", "/nowhere/runtime"),
        (pod("web"), "directory", "/etc is no program"),
        (pod("web"), "absent", "not configured"),
    ] {
        let refused = world.on(world.engine().pods().run_pod(config, handler.to_owned())).unwrap_err();
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert_eq!(world.node.count(Verb::Spawn), 0);
    let pod = other(&world);
    let mount = Mount {
        container_path: model::AbsPath::new("/mnt").unwrap(),
        host_path: model::AbsPath::new("/usr").ok(),
        uid_mappings: vec![range],
        gid_mappings: vec![range],
        ..Mount::default()
    };
    let config = ContainerConfig { mounts: vec![mount], ..container("app") };
    let refused = world.on(world.engine().containers().create_container(&pod, config, None)).unwrap_err();
    assert!(refused.to_string().contains("has no idmapped mounts"), "{refused}");
    let names: Vec<String> = world.engine().status().handlers.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["", "directory", "gone", "native", "other"]);
}

#[test]
fn hooks_of_a_device_run_around_the_container_and_go_with_it() {
    let world = World::with(|settings, dir| {
        settings.cdi_spec_dirs = vec![dir.join("cdi")];
        std::fs::create_dir(dir.join("cdi")).unwrap();
        let hook = |stage: &str| {
            let file = dir.join(stage).display().to_string();
            serde_json::json!({"hookName": stage, "path": "/bin/sh", "args": ["sh", "-c", format!("cat >{file}")]})
        };
        let failing = serde_json::json!({"hookName": "poststart", "path": "/bin/false"});
        let hooks = [hook("createRuntime"), failing, hook("poststart"), hook("poststop")];
        let text = serde_json::json!({
            "cdiVersion": "0.6.0", "kind": "test.local/device",
            "devices": [{"name": "one", "containerEdits": {"hooks": hooks}}]
        });
        std::fs::write(dir.join("cdi/device.json"), text.to_string()).unwrap();
    });
    let pod = world.pod("web");
    let config =
        ContainerConfig { cdi_devices: vec!["test.local/device=one".to_owned()], ..container("app") };
    let id = world.on(world.engine().containers().create_container(&pod, config, None)).unwrap();
    let plan = world.node.plan(id.as_str()).unwrap();
    assert_eq!(plan.hooks.unwrap().create_runtime.len(), 1, "the launcher runs these");
    assert!(plan.runtime.is_none() && !world.path("poststart").exists());
    world.on(world.engine().containers().start_container(id.as_str())).unwrap();
    let told = |stage: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(world.path(stage)).unwrap()).unwrap()
    };
    let state = told("poststart");
    assert_eq!((&state["id"], &state["status"]), (&id.as_str().into(), &"running".into()));
    assert!(state["pid"].as_i64().unwrap() > 0);
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    assert_eq!(told("poststop")["status"], "stopped");
    assert!(!world.path("createRuntime").exists(), "not the engine's to run");
    world.nothing_left();
}
