//! One daemon a state directory, stale sockets, the command line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::command;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::World;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_second_daemon_says_who_holds_the_directory() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own promise");
        return;
    }
    let (program, config) = world.daemon.invocation();
    let mut second = Command::new(program);
    let finished =
        command::finish(second.arg("serve").arg("--config").arg(config), Duration::from_secs(30)).unwrap();
    assert!(!finished.status.success());
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains(&world.daemon.pid().to_string()), "the holder's pid is not named: {said}");
    assert!(world.tokio.block_on(async { world.daemon.client().await.unwrap().is_ready().await }));
}

#[test]
fn a_stale_socket_is_replaced_and_is_root_s_alone() {
    let Some(mut world) = World::new().unwrap() else { return };
    let socket = world.daemon.place().socket.clone();
    world.daemon.kill().unwrap();
    assert!(socket.exists(), "SIGKILL leaves the socket");
    world.daemon.restart().unwrap();
    if world.daemon.kind() == Kind::Corten {
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
    let took = world.daemon.stop().unwrap();
    assert!(took < Duration::from_secs(5), "an idle daemon took {took:?} to stop");
}

#[test]
fn the_command_line_explains_itself() {
    let Ok(program) = tools::corten("corten") else {
        need::skip(need::Need::Tools, "Corten is not built");
        return;
    };
    let run = |arguments: &[&str]| {
        command::finish(Command::new(&program).args(arguments), Duration::from_secs(30)).unwrap()
    };
    assert!(run(&["--version"]).stdout.starts_with("corten "));
    let defaults = run(&["config", "default"]);
    assert!(defaults.status.success() && defaults.stdout.contains("socket"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    std::fs::write(&file, &defaults.stdout).unwrap();
    let check = |file: &std::path::Path| run(&["config", "check", "--config", file.to_str().unwrap()]);
    let finished = check(&file);
    assert!(finished.status.success(), "the defaults do not pass their own check: {}", finished.stderr);
    std::fs::write(&file, "data_dir = \"/tmp\"\nsockett = \"/tmp/x\"\n").unwrap();
    let finished = check(&file);
    assert!(!finished.status.success());
    for word in ["corten.toml:2", "sockett", "socket"] {
        assert!(finished.stderr.contains(word), "{}", finished.stderr);
    }
}

#[test]
fn a_data_directory_that_takes_no_overlay_makes_the_node_not_ready_and_says_so() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own promise");
        return;
    }
    world.daemon.stop().unwrap();
    let data = world.daemon.place().data.clone();
    let below = world.isolation.directory("below").unwrap();
    let [upper, work] = ["upper", "work"].map(|name| world.isolation.directory(name).unwrap());
    let options =
        format!("lowerdir={},upperdir={},workdir={}", below.display(), upper.display(), work.display());
    let mut mount = Command::new(tools::system("mount").unwrap());
    mount.args(["-t", "overlay", "-o", &options, "overlay"]).arg(&data);
    command::run(&mut mount, Duration::from_secs(10)).unwrap();
    world.daemon.restart().unwrap();
    let condition = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let request = e2e::proto::StatusRequest { verbose: false };
        let status = cri.runtime.clone().status(request).await.unwrap().into_inner().status.unwrap();
        status.conditions.into_iter().find(|condition| condition.r#type == "RuntimeReady").unwrap()
    });
    assert!(!condition.status);
    assert_eq!(condition.reason, "OverlayUnusable");
    let wanted = format!("data_dir {} lies on overlayfs", data.display());
    assert!(condition.message.starts_with(&wanted), "{}", condition.message);
}
