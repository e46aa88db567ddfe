//! Commands and clients with streams.

use super::{World, command, container};
use crate::{OpenExec, SessionVerb, Streams};
use model::{ContainerConfig, ErrorKind};
use std::io::{Read as _, Write as _};

const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true };

fn exec(tty: bool, streams: Streams) -> OpenExec {
    OpenExec { command: command("cat"), tty, streams, size: tty.then_some((80, 24)) }
}

#[test]
fn streams_carry_what_is_written_and_end_with_their_writer() {
    let world = World::new();
    let id = world.running(&world.pod("web"), "app");
    let session = world.on(world.engine().containers().open_exec(&id, exec(false, ALL))).unwrap();
    let [mut stdin, mut stdout, stderr] = <[_; 3]>::try_from(world.node.streams()).unwrap();
    let (input, output) = (session.stdin.unwrap(), session.stdout.unwrap());
    world.on(input.write_all(b"to the command")).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(stdin.read(&mut buffer).unwrap(), 14);
    assert_eq!(output.try_read(&mut buffer).unwrap(), None, "nothing is there yet");
    stdout.write_all(b"from it").unwrap();
    assert_eq!(output.waiting(), 7);
    assert_eq!(world.on(output.read(&mut buffer)).unwrap(), 7);
    assert_eq!(&buffer[..7], b"from it");
    drop((stdout, stderr));
    assert_eq!(world.on(output.read(&mut buffer)).unwrap(), 0);
    assert_eq!(world.on(session.stderr.unwrap().read(&mut buffer)).unwrap(), 0);
    drop(stdin);
    assert_eq!(world.on(input.write_all(b"more")).unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    world.node.end_commands_with(3);
    let session =
        world.on(world.engine().containers().open_exec(&id, exec(false, Streams::default()))).unwrap();
    assert!(session.stdin.is_none() && session.stdout.is_none() && session.stderr.is_none());
    assert_eq!(world.on(session.end.wait()).unwrap(), 3);
}

#[test]
fn a_terminal_is_one_stream_with_a_size_and_a_name() {
    let world = World::new();
    let id = world.running(&world.pod("web"), "app");
    let session = world.on(world.engine().containers().open_exec(&id, exec(true, ALL))).unwrap();
    assert!(session.stdin.is_some() && session.stderr.is_none());
    let plan = world.node.commands().pop().unwrap();
    assert_eq!(plan.size, (80, 24));
    assert!(plan.process.env.contains(&b"TERM=xterm".to_vec()));
    let mut master = world.node.streams().pop().unwrap();
    master.write_all(b"prompt").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(world.on(session.stdout.unwrap().read(&mut buffer)).unwrap(), 6);
    let terminal = session.terminal.unwrap();
    terminal.resize(0, 24).unwrap();
    assert!(terminal.resize(100, 40).is_err(), "what stands in for a terminal is none");
    let silent = Streams { stdin: false, ..ALL };
    assert!(
        world.on(world.engine().containers().open_exec(&id, exec(true, silent))).unwrap().stdin.is_none()
    );
}

#[test]
fn a_client_joins_the_streams_that_the_container_has() {
    let world = World::new();
    let pod = world.pod("web");
    let running = |name: &str, tty: bool| {
        let config = ContainerConfig { stdin: true, stdin_once: true, tty, ..container(name) };
        let id = world.on(world.engine().containers().create_container(&pod, config, None)).unwrap();
        world.on(world.engine().containers().start_container(id.as_str())).unwrap();
        id.as_str().to_owned()
    };
    let plain = running("plain", false);
    let session = world.on(world.engine().containers().open_attach(&plain, ALL)).unwrap();
    assert!(session.stdin.is_some() && session.stdout.is_some() && session.stderr.is_some());
    assert!(session.terminal.is_none() && session.shared.ends_with_client());
    let none = world.on(world.engine().containers().open_attach(&plain, Streams::default())).unwrap();
    assert!(none.stdout.is_some() && none.stdin.is_none() && none.stderr.is_none(), "the sign of the end");
    let terminal = running("terminal", true);
    let session = world.on(world.engine().containers().open_attach(&terminal, ALL)).unwrap();
    assert!(session.stdin.is_some() && session.terminal.is_some() && session.stderr.is_none());
    assert!(!session.shared.ends_with_client());
}

#[test]
fn a_supervisor_that_is_out_of_descriptors_is_told_of() {
    let world = World::new();
    let id = world.running(&world.pod("web"), "app");
    world.node.starve();
    let failures = [
        world.on(world.engine().containers().open_exec(&id, exec(false, ALL))).err().unwrap(),
        world.on(world.engine().containers().open_exec(&id, exec(true, ALL))).err().unwrap(),
        world.on(world.engine().containers().open_attach(&id, ALL)).err().unwrap(),
    ];
    for failure in failures {
        let told = crate::chain(&failure);
        assert!(told.contains(&id) && told.contains("no descriptor left"), "{told}");
    }
}

#[test]
fn what_streams_are_for_must_be_there_and_is_listed_while_it_lasts() {
    let world = World::new();
    let engine = world.engine();
    let pod = world.pod("web");
    let (created, running) = (world.container(&pod, "created"), world.running(&pod, "running"));
    assert_eq!(engine.containers().running_container(&running[..12], "attach to").unwrap(), running);
    let refused = engine.containers().running_container(&created, "attach to").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    assert!(refused.to_string().starts_with("cannot attach to container"), "{refused}");
    assert_eq!(engine.pods().ready_pod(&pod[..12], "forward a port of").unwrap(), pod);
    for (verb, word) in [(SessionVerb::Attach, "Attach"), (SessionVerb::PortForward, "PortForward")] {
        let session = engine.session(verb, &running, std::future::pending::<()>());
        let listed = engine.operations();
        let named = format!("test/web/running {running}");
        assert_eq!((listed.len(), listed[0].verb, &listed[0].subject), (1, word, &named));
        drop(session);
        assert!(engine.operations().is_empty());
    }
    assert_eq!(engine.pod_identity(&pod).unwrap().pod, "test/web");
    assert!(engine.pod_identity("absent").is_none());
}

#[test]
fn what_is_under_way_in_a_container_is_told_with_its_names() {
    use crate::supervisor::fake::{Act, Gate, Verb};
    let world = World::new();
    let id = world.running(&world.pod("web"), "app");
    let gate = Gate::new();
    world.node.on(Verb::Exec, Act::Wait(gate.clone()));
    let (engine, begun) = (world.engine(), id.clone());
    // Clients may shorten what they ask for.
    let half = id[..20].to_owned();
    let exec = world.spawn(async move { engine.containers().exec_sync(&half, command("true"), None).await });
    world.on(gate.reached());
    let told: Vec<String> = world.engine().operations().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&format!("ExecSync test/web/app {} for ", &begun[..20])), "{told:?}");
    gate.open();
    world.on(exec).unwrap().unwrap();
    assert!(world.engine().operations().is_empty());
    let pull = world.engine().for_operator("corten image pull", "reg.example/app", std::future::ready(()));
    assert!(world.engine().operations()[0].to_string().starts_with("corten image pull reg.example/app for "));
    world.on(pull);
}

#[test]
fn a_command_whose_client_has_left_is_ended() {
    use crate::supervisor::fake::{Act, Gate, Verb};
    let world = World::new();
    let id = world.running(&world.pod("web"), "app");
    for limit in [None, Some(std::time::Duration::from_secs(600))] {
        let gate = Gate::new();
        world.node.on(Verb::Exec, Act::Wait(gate.clone()));
        let (engine, asked) = (world.engine(), id.clone());
        let client =
            world.spawn(async move { engine.containers().exec_sync(&asked, command("true"), limit).await });
        world.on(gate.reached());
        assert_eq!(world.engine().operations().len(), 1);
        client.abort();
        // It is ended by nothing else.
        world.on(async {
            while !world.engine().operations().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        });
    }
}
