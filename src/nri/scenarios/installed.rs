//! Plugins that are started with the runtime.

use super::*;
use crate::api::ConfigureRequest;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A plugin as an executable: this program, whose first test below is the plugin where it is started as one.
pub(super) fn install(dir: &Path, name: &str, first: &str) {
    let (plugins, program) = (dir.join("plugins"), std::env::current_exe().unwrap());
    std::fs::create_dir_all(&plugins).unwrap();
    let script = format!(
        "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ > {dir}/environment\nsh -c \"ls -l /proc/$$/fd > {dir}/descriptors\"\n{first}\n\
         export DIR={dir}\nexec {program} --exact scenarios::installed::a_plugin_is_started_with_what_it_needs_and_awaited --nocapture\n",
        dir = dir.display(),
        program = program.display(),
    );
    std::fs::write(plugins.join(name), script).unwrap();
    std::fs::set_permissions(plugins.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn be_a_plugin() {
    let socket: std::os::unix::net::UnixStream = sys::fd::inherited(3).unwrap().into();
    socket.set_nonblocking(true).unwrap();
    let dir = PathBuf::from(std::env::var_os("DIR").unwrap());
    let out = dir.clone();
    let manner = Manner::new("77", "lies").answering(move |call| {
        if call.method == "Configure" {
            let asked: ConfigureRequest = call.argument();
            std::fs::write(out.join("configuration"), asked.config).unwrap();
        }
        None
    });
    let plugin = Plugin::on(tokio::net::UnixStream::from_std(socket).unwrap(), manner).await.unwrap();
    plugin.ended().await;
    std::fs::write(dir.join("events"), format!("{:?}", plugin.events())).unwrap();
}

pub(super) fn read(stage: &Stage, file: &str) -> String {
    std::fs::read_to_string(stage._dir.path().join(file)).unwrap_or_default()
}

pub(super) fn of(stage: &Stage, name: &str) -> Option<crate::PluginStatus> {
    stage.nri.plugins().into_iter().find(|plugin| plugin.name == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_started_with_what_it_needs_and_awaited() {
    if std::env::var_os("NRI_PLUGIN_SOCKET").is_some() {
        return be_a_plugin().await;
    }
    let stage = Stage::with(
        |dir| {
            install(dir, "10-own", "");
            std::fs::create_dir(dir.join("conf.d")).unwrap();
            std::fs::write(dir.join("conf.d/own.conf"), "of the plugin").unwrap();
            std::fs::write(dir.join("plugins/20-no-program"), "").unwrap();
        },
        |_| {},
    );
    // Nobody has waited for it before: the first container is its business already.
    stage.create("first", Duration::ZERO).await.unwrap();
    let status = of(&stage, "10-own").unwrap();
    assert_eq!((status.connected, status.origin), (true, crate::Origin::Installed));
    assert_eq!(stage.nri.plugins().len(), 1);
    let mut environment: Vec<String> = read(&stage, "environment").lines().map(str::to_owned).collect();
    environment.sort();
    assert_eq!(environment, ["NRI_PLUGIN_IDX=10", "NRI_PLUGIN_NAME=own", "NRI_PLUGIN_SOCKET=3"]);
    // The shell has its script open, too.
    let descriptors = read(&stage, "descriptors");
    let others = descriptors.lines().filter(|line| line.contains("->") && !line.ends_with("10-own"));
    let numbers: Vec<_> =
        others.filter_map(|line| line.split(" -> ").next()?.split(' ').next_back()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{descriptors}");
    assert_eq!(read(&stage, "configuration"), "of the plugin");
    let pid = status.pid.unwrap();
    stage.nri.shutdown().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it outlives the runtime");
    assert!(read(&stage, "events").contains("first"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_is_started_again_and_told_what_is_there() {
    let stage = Stage::with(|dir| install(dir, "10-own", ""), |_| {});
    stage.until(|| of(&stage, "10-own").is_some_and(|plugin| plugin.connected)).await;
    let pid = of(&stage, "10-own").and_then(|plugin| plugin.pid).unwrap();
    sys::process::kill(i32::try_from(pid).unwrap(), 9).unwrap();
    stage.until(|| of(&stage, "10-own").is_some_and(|plugin| !plugin.connected)).await;
    stage.create("meanwhile", Duration::ZERO).await.unwrap();
    stage.until(|| of(&stage, "10-own").is_some_and(|plugin| plugin.connected)).await;
    let status = of(&stage, "10-own").unwrap();
    assert!(status.pid != Some(pid) && status.restarts == 1);
    let calls = status.calls.iter().find(|calls| calls.request == "Synchronize").unwrap();
    assert_eq!(calls.total, 2);
    stage.nri.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_run_or_says_nothing_keeps_nobody_for_long() {
    let stage = Stage::with(
        |dir| {
            install(dir, "10-ends", "exit 3");
            install(dir, "20-silent", "exec sleep 600");
        },
        |settings| settings.registration_timeout = Duration::from_millis(300),
    );
    let begun = std::time::Instant::now();
    stage.create("c", Duration::ZERO).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // Who ends at once is started again and again, which is counted and told.
    stage.until(|| of(&stage, "10-ends").is_some_and(|plugin| plugin.restarts > 0)).await;
    let absence = of(&stage, "10-ends").and_then(|plugin| plugin.absence).unwrap();
    assert!(absence.why.contains("exit status: 3"), "{absence:?}");
    stage.until(|| of(&stage, "10-ends").is_some_and(|one| one.absence.unwrap().again_at.is_some())).await;
    stage.until(|| of(&stage, "20-silent").is_some_and(|plugin| !plugin.connected)).await;
    stage.nri.shutdown().await;
}
