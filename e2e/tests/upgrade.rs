//! Releases one after the other (F23): this daemon over the pods of the release before, and a daemon over state that is
//! newer than itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::security_profile::ProfileType;
use e2e::proto::{
    ContainerConfig, LinuxContainerResources, Mount, PodSandboxConfig, SecurityProfile,
    UpdateContainerResourcesRequest,
};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{logs, tools};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};
use tonic::Code;

const SOON: Duration = Duration::from_secs(30);
const MIB: i64 = 1 << 20;

/// Repeats what it is told until it is asked to end.
const TALKS: &str =
    "trap 'echo asked; exit 9' TERM; echo begun; while :; do read line && echo got $line; done";

fn corten() -> Option<World> {
    let world = World::new().unwrap()?;
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "it is Corten's releases that follow each other here");
        return None;
    }
    Some(world)
}

/// Asks for nothing that only a newer supervisor can do, whatever the host has.
fn plain(name: &str, script: &str) -> ContainerConfig {
    let mut container = shell(name, BUSYBOX, script);
    container.stdin = true;
    if let Some(security) = container.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) {
        let profile_type = ProfileType::Unconfined.into();
        security.apparmor = Some(SecurityProfile { profile_type, ..SecurityProfile::default() });
    }
    container
}

async fn started(cri: &Cri, pod: &str, config: &PodSandboxConfig, container: &ContainerConfig) -> String {
    let id = cri.create(pod, container, config).await.unwrap();
    cri.start(&id).await.unwrap();
    id
}

fn says(log: &Path, text: &str) {
    let end = Instant::now() + SOON;
    while !logs::read(log).is_ok_and(|lines| lines.iter().any(|line| line.text == text)) {
        assert!(Instant::now() < end, "{} never says {text:?}", log.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client attaches, says a line and hears what becomes of it.
fn talks(world: &World, id: &str) {
    let mut command = world.crictl().unwrap().command(&["attach", "-i", id]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(b"this\n").unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(line, "got this\n");
}

/// The container of [`TALKS`] takes commands and a new limit.
async fn is_served(cri: &Cri, id: &str) {
    assert_eq!(cri.shell(id, "echo $((6 * 7)); exit 0").await.unwrap().trim(), "42");
    assert_eq!(cri.exec(id, &["sh", "-c", "exit 3"], 10).await.unwrap().exit_code, 3);
    let linux =
        LinuxContainerResources { memory_limit_in_bytes: 96 * MIB, ..LinuxContainerResources::default() };
    let request = UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(linux),
        ..UpdateContainerResourcesRequest::default()
    };
    cri.runtime.clone().update_container_resources(request).await.unwrap();
    let shown = cri.container_status(id).await.unwrap().resources.unwrap().linux.unwrap();
    assert_eq!(shown.memory_limit_in_bytes, 96 * MIB);
}

/// It is stopped as it is asked to be, and says so.
async fn is_stopped(cri: &Cri, id: &str) {
    cri.stop(id, 30).await.unwrap();
    assert_eq!(cri.container_status(id).await.unwrap().exit_code, 9);
}

/// The programs of the release before, if they are built.
fn previous() -> Option<PathBuf> {
    let built = tools::previous();
    if built.is_none() {
        let why = "the release before is not built: e2e/previous.sh does it where the clone has its commit";
        need::skip(need::Need::System, why);
    }
    built
}

/// Ends the daemon, and has others begin where nothing is left of it.
fn begin_with(world: &mut World, programs: &Path) {
    world.daemon.stop().unwrap();
    let place = world.daemon.place().clone();
    for dir in [&place.state, &place.data] {
        fs::remove_dir_all(dir).unwrap();
    }
    world.daemon.install(programs);
    world.daemon.restart().unwrap();
}

/// A pod that a daemon leaves behind.
struct Left {
    config: PodSandboxConfig,
    pod: String,
    talking: String,
    ending: String,
}

/// A pod with a container that talks, and one that ends with 7 once the daemon has been stopped.
fn leave(world: &mut World) -> Left {
    let config = world.pod("before").unwrap();
    let go = world.isolation.directory("go").unwrap();
    let left = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let talking = started(&cri, &pod, &config, &plain("talks", TALKS)).await;
        let mut ends = plain("ends", "until [ -e /go/on ]; do usleep 10000; done; echo over; exit 7");
        let host_path = go.display().to_string();
        ends.mounts.push(Mount { container_path: "/go".into(), host_path, ..Mount::default() });
        let ending = started(&cri, &pod, &config, &ends).await;
        Left { config, pod, talking, ending }
    });
    world.daemon.stop().unwrap();
    fs::write(go.join("on"), "").unwrap();
    says(&world.log("before", "ends"), "over");
    left
}

/// What was left is served to its end, and makes more.
fn take_over(world: &World, left: &Left) {
    talks(world, &left.talking);
    let streamed = world.crictl().unwrap().run(&["exec", &left.talking, "echo", "streamed"]).unwrap();
    assert_eq!(streamed.trim(), "streamed");
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_eq!(wait_exited(&cri, &left.ending, SOON).await.unwrap().exit_code, 7);
        is_served(&cri, &left.talking).await;
        let more = started(&cri, &left.pod, &left.config, &plain("more", TALKS)).await;
        is_served(&cri, &more).await;
        is_stopped(&cri, &left.talking).await;
        cri.end_pod(&left.pod).await.unwrap();
        assert!(cri.pods().await.unwrap().is_empty() && cri.containers().await.unwrap().is_empty());
    });
    let lines = logs::read(&world.log("before", "talks")).unwrap();
    let said: Vec<_> = lines.into_iter().map(|line| line.text).collect();
    assert_eq!(said, ["begun", "got this", "asked"]);
}

#[test]
fn pods_and_state_of_the_release_before_are_taken_over() {
    let Some(mut world) = corten() else { return };
    let Some(previous) = previous() else { return };
    begin_with(&mut world, &previous);
    let left = leave(&mut world);
    world.daemon.install(&tools::dist());
    world.daemon.restart().unwrap();
    take_over(&world, &left);
}

#[test]
fn the_release_before_takes_over_state_that_it_reads_and_refuses_other() {
    let Some(mut world) = corten() else { return };
    let Some(previous) = previous() else { return };
    begin_with(&mut world, &previous);
    let reads = version(&world);
    begin_with(&mut world, &tools::dist());
    let writes = version(&world);
    let left = leave(&mut world);
    world.daemon.install(&previous);
    if reads == writes {
        is_refused_where_newer(&mut world, &left.pod, &left.talking);
        world.daemon.restart().unwrap();
        take_over(&world, &left);
    } else {
        assert!(reads < writes);
        let file = world.daemon.place().state.join("version").display().to_string();
        is_refused(&mut world, &[&file, "a newer release wrote it"]);
    }
}

#[test]
fn a_supervisor_that_has_learnt_less_is_served_and_asked_for_no_more() {
    let older = format!("[runtime]\nselinux = false\nshim = {:?}\n", env!("CARGO_BIN_EXE_older-shim"));
    let world = World::with(|mut options| {
        options.extra = older;
        options
    });
    let Some(mut world) = world.unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "it is Corten's supervisor that has learnt");
        return;
    }
    let config = world.pod("older").unwrap();
    let mut wants = plain("main", TALKS);
    wants.mounts.push(Mount {
        container_path: "/host".into(),
        host_path: world.isolation.directory("shown").unwrap().display().to_string(),
        readonly: true,
        recursive_read_only: true,
        ..Mount::default()
    });
    let (pod, id) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let request = e2e::proto::CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(wants.clone()),
            sandbox_config: Some(config.clone()),
        };
        let refused = cri.runtime.clone().create_container(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        let words = "the pod's supervisor is older: it cannot take flags from mounts or set those of mounts below, \
                     restart the pod";
        assert!(refused.message().ends_with(words), "{}", refused.message());
        assert!(cri.containers().await.unwrap().is_empty(), "something is left of what was refused");
        // The name is free, and all else is as ever.
        let id = started(&cri, &pod, &config, &plain("main", TALKS)).await;
        is_served(&cri, &id).await;
        (pod, id)
    });
    let streamed = world.crictl().unwrap().finish(&["exec", &id, "echo", "streamed"]).unwrap();
    let told = streamed.stderr;
    assert!(!streamed.status.success() && told.contains("cannot open streams, restart the pod"), "{told}");

    // The upgrade comes, the pod stays what it is, and one that is started anew can do it all.
    let drop_in = world.daemon.place().root.join("conf.d/shim.toml");
    fs::write(drop_in, "[runtime]\nshim = \"\"\n").unwrap();
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        is_served(&cri, &id).await;
        is_stopped(&cri, &id).await;
        cri.end_pod(&pod).await.unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let id = started(&cri, &pod, &config, &wants).await;
        is_served(&cri, &id).await;
        cri.end_pod(&pod).await.unwrap();
    });
}

/// Every file of the state with its content and the time of its change, but for the locks with the daemon's number.
fn state(world: &World) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let place = world.daemon.place();
    let (mut found, mut dirs) = (BTreeMap::new(), vec![place.state.clone(), place.data.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() && path.extension().is_none_or(|ending| ending != "lock") {
                let changed = fs::metadata(&path).unwrap().modified().unwrap();
                found.insert(path.clone(), (fs::read(path).unwrap(), changed));
            }
        }
    }
    found
}

/// The version of the state that the daemon has left.
fn version(world: &World) -> u32 {
    let text = fs::read_to_string(world.daemon.place().data.join("version")).unwrap();
    text.strip_prefix("corten state ").unwrap().trim().parse().unwrap()
}

/// The daemon does not start, says so in these words, and changes nothing.
fn is_refused(world: &mut World, words: &[&str]) {
    let before = state(world);
    let told = world.daemon.refused().unwrap();
    for word in words {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
    let after = state(world);
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, kept)| after.get(*path) != Some(kept))
        .map(|(path, _)| path)
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// One file after the other is of the next version.
fn is_refused_where_newer(world: &mut World, pod: &str, id: &str) {
    let place = world.daemon.place().clone();
    let records = place.state.join("pods").join(pod);
    let (reads, newer) = (version(world), version(world) + 1);
    for path in [
        place.data.join("version"),
        place.state.join("version"),
        records.join("pod.json"),
        records.join("containers").join(format!("{id}.json")),
    ] {
        let ours = fs::read(&path).unwrap();
        let text = String::from_utf8(ours.clone()).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        let kind = first.strip_suffix(&format!(" {reads}")).unwrap();
        fs::write(&path, format!("{kind} {newer}\n{rest}")).unwrap();
        let (is, can) =
            (format!("is of version {newer} of the state"), format!("this corten reads version {reads}"));
        let file = path.display().to_string();
        is_refused(world, &[&is, &can, &file, "install that release again"]);
        fs::write(&path, ours).unwrap();
    }
}

#[test]
fn state_of_a_newer_release_is_refused_and_nothing_is_changed() {
    let Some(mut world) = corten() else { return };
    let left = leave(&mut world);
    is_refused_where_newer(&mut world, &left.pod, &left.talking);
    world.daemon.restart().unwrap();
    take_over(&world, &left);
}
