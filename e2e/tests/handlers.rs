//! Runtime handlers: the same pods by the shim, runc, crun and Corten's own command line, with the same behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "streaming/talk.rs"]
#[allow(dead_code, reason = "some of it only scenarios of streams need")]
mod talk;
#[path = "handlers/users.rs"]
mod users;

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{
    ContainerState, IdMapping, LinuxContainerConfig, LinuxContainerResources, Mount, NamespaceMode,
    PodSandboxConfig, UserNamespace,
};
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{error::Error, logs};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use talk::in_a_terminal;

const SOON: Duration = Duration::from_secs(30);
/// Root of the pods with user namespaces.
const FIRST: u32 = 0x31_0000;

/// A world whose daemon has the handler `other`, of a program.
fn world(binary: &str) -> Option<World> {
    let lines = format!("[handlers.other]\ntype = \"oci\"\nbinary = \"{binary}\"\n");
    let world = World::with(|mut options| {
        options.kind = Kind::Corten;
        options.extra = lines;
        options
    });
    let world = world.unwrap()?;
    world.tokio.block_on(async { world.daemon.client().await?.pull(BUSYBOX, None).await }).unwrap();
    Some(world)
}

fn debian(name: &str) -> String {
    tools::system(name).expect("e2e/setup.sh test installs it").display().to_string()
}

/// Exit codes, logs, execs, a memory limit that is hit, a kill -9 of the daemon, and nothing left.
fn behaves(binary: &str) {
    let Some(mut world) = world(binary) else { return };
    let config = world.pod("handled").unwrap();
    let log = world.log("handled", "main");
    let (pod, main, killed) = world
        .tokio
        .block_on(async {
            let cri = world.daemon.client().await?;
            let pod = cri.run_pod_by(&config, "other").await?;
            let script = "echo out; echo err >&2; hostname; trap 'exit 7' TERM; while :; do sleep 0.1; done";
            let main = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await?;
            assert_eq!(cri.container_status(&main).await?.state(), ContainerState::ContainerCreated);
            cri.start(&main).await?;
            assert_eq!(cri.container_status(&main).await?.state(), ContainerState::ContainerRunning);
            runs_commands(&cri, &main).await?;
            let hungry = Box::pin(over_the_limit(&cri, &pod, &config)).await?;
            let missing =
                cri.create(&pod, &e2e::pods::container("missing", BUSYBOX, &["/no/such"]), &config).await;
            let refused = match missing {
                Err(error) => error.to_string(),
                Ok(id) => cri.start(&id).await.unwrap_err().to_string(),
            };
            assert!(refused.contains("no such file") || refused.contains("not found"), "{refused}");
            let killed = cri.create(&pod, &shell("killed", BUSYBOX, "sleep 600"), &config).await?;
            cri.start(&killed).await?;
            cri.remove(&hungry).await?;
            Ok::<_, Error>((pod, main, killed))
        })
        .unwrap();
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world
        .tokio
        .block_on(async {
            let cri = world.daemon.client().await?;
            assert_eq!(cri.shell(&main, "echo still here").await?, "still here\n");
            cri.stop(&killed, 0).await?;
            assert_eq!(wait_exited(&cri, &killed, SOON).await?.exit_code, 137);
            cri.stop(&main, 30).await?;
            assert_eq!(wait_exited(&cri, &main, SOON).await?.exit_code, 7);
            cri.end_pod(&pod).await
        })
        .unwrap();
    let lines = logs::read(&log).unwrap();
    let of = |stream: &str| -> Vec<&str> {
        lines.iter().filter(|line| line.stream == stream).map(|line| line.text.as_str()).collect()
    };
    assert_eq!((of("stdout"), of("stderr")), (vec!["out", config.hostname.as_str()], vec!["err"]));
    let left = world.daemon.place().state.join("handlers/other");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "the runtime's state is left");
}

async fn runs_commands(cri: &Cri, id: &str) -> Result<(), Error> {
    let reply = cri.exec(id, &["sh", "-c", "echo o; echo e >&2; exit 3"], 30).await?;
    assert_eq!(
        (reply.exit_code, reply.stdout.as_slice(), reply.stderr.as_slice()),
        (3, &b"o\n"[..], &b"e\n"[..])
    );
    let missing = cri.exec(id, &["/no/such"], 30).await.unwrap_err().to_string();
    assert!(missing.contains("no such file") || missing.contains("not found"), "{missing}");
    let late = cri.exec(id, &["sh", "-c", "sleep 601 & sleep 601"], 1).await;
    assert!(late.is_err(), "the timeout passes");
    let left = cri.exec(id, &["sh", "-c", "ps | grep -c '[s]leep 601'"], 30).await?;
    assert_eq!(left.stdout, b"0\n", "a command outlives its timeout");
    Ok(())
}

async fn over_the_limit(
    cri: &Cri,
    pod: &str,
    config: &e2e::proto::PodSandboxConfig,
) -> Result<String, Error> {
    let mut hungry = shell("hungry", BUSYBOX, "exec tail /dev/zero");
    hungry.linux = Some(LinuxContainerConfig {
        resources: Some(LinuxContainerResources { memory_limit_in_bytes: 32 << 20, ..Default::default() }),
        ..hungry.linux.unwrap_or_default()
    });
    let id = cri.create(pod, &hungry, config).await?;
    cri.start(&id).await?;
    let status = wait_exited(cri, &id, SOON).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    Ok(id)
}

/// The file of the daemon with other handlers; waits until `corten config status` calls it refused, or not.
fn reconfigure(world: &World, handlers: &str, refused: bool) -> serde_json::Value {
    let (_, config) = world.daemon.invocation();
    let text = std::fs::read_to_string(config).unwrap();
    let mut of_handlers = false;
    let others: String = text
        .split_inclusive('\n')
        .filter(|line| {
            of_handlers = if line.starts_with('[') { line.starts_with("[handlers") } else { of_handlers };
            !of_handlers
        })
        .collect();
    std::fs::write(config.with_extension("new"), format!("{others}\n{handlers}")).unwrap();
    std::fs::rename(config.with_extension("new"), config).unwrap();
    let daemon = nix::unistd::Pid::from_raw(world.daemon.pid());
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGHUP).unwrap();
    until_status(world, refused)
}

/// Waits until `corten config status` calls the file refused, or not.
fn until_status(world: &World, refused: bool) -> serde_json::Value {
    let (program, config) = world.daemon.invocation();
    let begin = std::time::Instant::now();
    loop {
        let mut line = std::process::Command::new(program);
        let line = line.args(["config", "status", "--json", "--config"]).arg(config);
        let stdout = e2e::command::finish(line, SOON).unwrap().stdout;
        let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        if status["refused"].is_null() != refused {
            return status;
        }
        assert!(begin.elapsed() < SOON, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn handlers_come_while_the_daemon_runs_and_go_once_no_pod_needs_them() {
    let Some(world) = world(&debian("runc")) else { return };
    let section = |name: &str, program: &str| {
        format!("[handlers.{name}]\ntype = \"oci\"\nbinary = \"{}\"\n", debian(program))
    };
    let config = world.pod("other").unwrap();
    let pod = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert!(cri.run_pod_by(&world.pod("early").unwrap(), "late").await.is_err());
        cri.run_pod_by(&config, "other").await.unwrap()
    });
    let refused = reconfigure(&world, &section("late", "crun"), true);
    let reason = refused["refused"].as_str().unwrap_or_default();
    assert!(reason.contains("handlers.other") && reason.contains("while 1 pod runs by it"), "{refused}");
    reconfigure(&world, &(section("other", "runc") + &section("late", "crun")), false);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let late = cri.run_pod_by(&world.pod("late").unwrap(), "late").await.unwrap();
        cri.end_pod(&late).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
    reconfigure(&world, &section("late", "crun"), false);
    // Nothing is refused before or after: that it is in force shows at a pod that asks for the handler.
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let begin = std::time::Instant::now();
        while let Ok(pod) = cri.run_pod_by(&config, "other").await {
            cri.end_pod(&pod).await.unwrap();
            assert!(begin.elapsed() < SOON);
            // One that is asked for in the moment in which the last has gone would hold it back.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    // What a pod holds back is made when it goes, without a word of anybody.
    let last = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.run_pod_by(&world.pod("last").unwrap(), "late").await.unwrap()
    });
    let refused = reconfigure(&world, "", true);
    let reason = refused["refused"].as_str().unwrap_or_default();
    assert!(reason.contains("handlers.late") && reason.contains("/last)"), "{refused}");
    world.tokio.block_on(async {
        world.daemon.client().await.unwrap().end_pod(&last).await.unwrap();
    });
    until_status(&world, false);
}

#[test]
fn runc_runs_the_containers_of_its_handler() {
    behaves(&debian("runc"));
}

#[test]
fn crun_runs_the_containers_of_its_handler() {
    // crun refuses a hybrid host whose v2 hierarchy has controllers.
    let hybrid = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    if hybrid.is_ok_and(|controllers| !controllers.trim().is_empty()) {
        need::skip(
            need::Need::Kernel,
            "crun does not run on a hybrid host with controllers in its v2 hierarchy",
        );
        return;
    }
    behaves(&debian("crun"));
}

#[test]
fn corten_oci_runs_the_containers_of_its_handler() {
    behaves(&tools::corten("corten-oci").unwrap().display().to_string());
}

#[test]
fn an_unknown_handler_is_refused_by_name() {
    let Some(world) = world("/nowhere/runtime") else { return };
    let config = world.pod("unknown").unwrap();
    let refused = |handler: &str| {
        let run = async { world.daemon.client().await?.run_pod_by(&config, handler).await };
        world.tokio.block_on(run).unwrap_err().to_string()
    };
    let error = refused("kata");
    assert!(error.contains("kata") && error.contains("native, other"), "{error}");
    let error = refused("other");
    assert!(error.contains("other") && error.contains("/nowhere/runtime"), "{error}");
    let pods = world.tokio.block_on(async { world.daemon.client().await?.pods().await }).unwrap();
    assert!(pods.is_empty());
    // An image's handler is one of them, too.
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let mut main = shell("main", BUSYBOX, "true");
        let mut of = |handler: &str| {
            main.image.get_or_insert_default().runtime_handler = handler.to_owned();
            main.clone()
        };
        let error = cri.create(&pod, &of("kata"), &config).await.unwrap_err().to_string();
        assert!(error.contains("kata") && error.contains("native, other"), "{error}");
        cri.create(&pod, &of("other"), &config).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
}

/// A container with a terminal, attached to; a command in a terminal that changes its size and has an exit code.
fn has_terminals(binary: &str) {
    let Some(world) = world(binary) else { return };
    let crictl = world.crictl().unwrap();
    let config = world.pod("tty").unwrap();
    let script = "tty; while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 9; done";
    let mut main = shell("main", BUSYBOX, script);
    (main.tty, main.stdin) = (true, true);
    let (pod, id) = world
        .tokio
        .block_on(async {
            let cri = world.daemon.client().await?;
            let pod = cri.run_pod_by(&config, "other").await?;
            let id = cri.create(&pod, &main, &config).await?;
            cri.start(&id).await?;
            Ok::<_, Error>((pod, id))
        })
        .unwrap();
    let flag = world.logs.join("resize");
    let mut talk = in_a_terminal(&format!("{} exec -i -t {id} sh", crictl.line()), &flag);
    let until = |size: &str| {
        format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.05; done; echo \"now\" {size}\n")
    };
    talk.say(&until("33 111"));
    talk.hear("now 33 111");
    std::fs::write(&flag, "").unwrap();
    talk.say(&until("40 120"));
    talk.hear("now 40 120");
    talk.say("tty; echo $TERM; echo \"the end\"; exit 7\n");
    let said = talk.hear("the end\r\n");
    assert!(said.contains("/dev/pts/") && said.contains("xterm"), "{said}");
    assert!(!talk.end(), "the exit code is lost");
    let done =
        crictl.feed(&["exec", "-i", &id, "sh", "-c", "cat; echo over >&2; exit 42"], b"input").unwrap();
    assert_eq!((done.stdout.as_str(), done.status.success()), ("input", false));
    assert!(done.stderr.starts_with("over\n") && done.stderr.contains("exit code 42"), "{}", done.stderr);

    let mut attached = in_a_terminal(&format!("{} attach -i -t {id}", crictl.line()), &flag);
    attached.say("hello\n");
    attached.hear("got hello\r\n");
    attached.say("end\n");
    attached.hear("got end\r\n");
    attached.end();
    let status = world
        .tokio
        .block_on(async {
            let cri = world.daemon.client().await?;
            let status = wait_exited(&cri, &id, SOON).await?;
            cri.end_pod(&pod).await?;
            Ok::<_, Error>(status)
        })
        .unwrap();
    assert_eq!(status.exit_code, 9);
    let log = std::fs::read_to_string(world.log("tty", "main")).unwrap();
    assert!(log.contains("/dev/pts/") && log.contains("got hello") && !log.contains(" stderr "), "{log}");
}

#[test]
fn runc_gives_terminals() {
    has_terminals(&debian("runc"));
}

#[test]
fn corten_oci_gives_terminals() {
    has_terminals(&tools::corten("corten-oci").unwrap().display().to_string());
}
