//! Runtime handlers: the same pods by the shim, runc, crun and Corten's own command line, with the same behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{ContainerState, LinuxContainerConfig, LinuxContainerResources};
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{error::Error, logs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

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
            assert_eq!(wait_exited(&cri, &killed, PATIENCE).await?.exit_code, 137);
            cri.stop(&main, 30).await?;
            assert_eq!(wait_exited(&cri, &main, PATIENCE).await?.exit_code, 7);
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
    let status = wait_exited(cri, &id, PATIENCE).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    Ok(id)
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
        println!("skipped: crun does not run on a hybrid host with controllers in its v2 hierarchy");
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
}
