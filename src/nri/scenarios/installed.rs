//! Plugins that are started with the runtime.

use super::log::Log;
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
    assert_eq!(status.last_end.as_deref(), Some("it was killed by signal 9"));
    let calls = status.calls.iter().find(|calls| calls.request == "Synchronize").unwrap();
    assert_eq!(calls.total, 2);
    stage.nri.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_run_or_says_nothing_keeps_nobody_for_long() {
    let stage = Stage::with(
        |dir| {
            install(dir, "10-ends", "echo no, no licence >&2; echo >&2; exit 3");
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
    assert_eq!(absence.why, "it exited with code 3 (last line: no, no licence)");
    stage.until(|| of(&stage, "10-ends").is_some_and(|one| one.absence.unwrap().again_at.is_some())).await;
    stage.until(|| of(&stage, "20-silent").is_some_and(|plugin| !plugin.connected)).await;
    stage.nri.shutdown().await;
}

/// What lies in a directory of plugins and is none.
fn litter(plugins: &Path) {
    std::fs::create_dir_all(plugins.join("disabled")).unwrap();
    for (file, mode) in [("20-closed", 0o644), ("unnamed", 0o755), ("README", 0o644), (".10-swap", 0o755)] {
        std::fs::write(plugins.join(file), "").unwrap();
        std::fs::set_permissions(plugins.join(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::write(plugins.join("50-script"), "#!/no/such/interpreter -x\n").unwrap();
    std::fs::set_permissions(plugins.join("50-script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/no/such/plugin", plugins.join("30-link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(plugins.join("40-socket")).unwrap();
}

#[tokio::test]
async fn what_lies_there_and_is_not_started_is_told_with_why() {
    let log = Log::catch();
    let stage = Stage::with(|dir| litter(&dir.join("plugins")), |_| {});
    let plugins = stage._dir.path().join("plugins");
    let expected = [
        ("20-closed", "nobody may execute it: chmod +x"),
        ("30-link", "it is a link to /no/such/plugin, which is not there"),
        ("40-socket", "it is no file"),
        ("50-script", "its interpreter /no/such/interpreter is not there"),
        ("disabled", "it is a directory"),
        ("unnamed", "its name is not of the form 10-name"),
    ];
    let told = stage.nri.plugins();
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (plugin, (name, why)) in told.iter().zip(expected) {
        let absence = plugin.absence.as_ref().unwrap();
        assert!(plugin.name == name && absence.why.starts_with(why) && !plugin.connected, "{plugin:?}");
        assert_eq!(plugin.origin, crate::Origin::Unfit);
        assert_eq!(log.lines(&["WARN", name, why]).len(), 1, "{name}");
    }
    assert!(stage.nri.awaited().is_empty());
    // What is known is not told again, and what is mended is forgotten.
    std::fs::remove_file(plugins.join("30-link")).unwrap();
    stage.nri.look_again();
    assert!(of(&stage, "30-link").is_none() && of(&stage, "unnamed").is_some());
    assert_eq!(log.lines(&["WARN", "unnamed"]).len(), 1);
    let seen = crate::look_for_plugins(&plugins).unwrap();
    assert_eq!((seen.plugins.len(), seen.unfit.len()), (0, 5));
    stage.nri.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_plugin_is_told_with_its_code_and_its_last_words() {
    let log = Log::catch();
    let stage = Stage::with(|dir| install(dir, "10-own", "echo no licence >&2; exit 3"), |_| {});
    let warned = || log.lines(&["WARN", "has ended", "10-own", "code=3", "last_line=\"no licence\""]);
    stage.until(|| !warned().is_empty()).await;
    assert_eq!(
        of(&stage, "10-own").and_then(|one| one.last_end).unwrap(),
        "it exited with code 3 (last line: no licence)"
    );
    stage.nri.shutdown().await;
    assert!(log.lines(&["is gone"]).is_empty(), "the runtime's own end is no news");
}

#[tokio::test]
async fn one_that_a_change_takes_away_is_told_to_be_gone() {
    let log = Log::catch();
    let stage = Stage::with(|dir| ["10-a", "20-b"].iter().for_each(|name| install(dir, name, "")), |_| {});
    let gone = |name: &str, why: &str| log.lines(&["INFO", "installed is gone", name, why]).len();
    stage.until(|| stage.nri.plugins().iter().filter(|plugin| plugin.connected).count() == 2).await;
    std::fs::remove_file(stage._dir.path().join("plugins/10-a")).unwrap();
    stage.nri.look_again();
    stage.until(|| gone("10-a", "it is not in the directory of plugins any more") == 1).await;
    assert_eq!(gone("20-b", ""), 0);
    stage.change(|settings| settings.enable = false).unwrap();
    stage.until(|| gone("20-b", "plugins are turned off") == 1).await;
    stage.nri.shutdown().await;
}

#[tokio::test]
async fn one_whose_executable_is_replaced_is_started_anew() {
    let log = Log::catch();
    let stage = Stage::with(|dir| install(dir, "10-own", ""), |_| {});
    let pid = || of(&stage, "10-own").filter(|plugin| plugin.connected).and_then(|plugin| plugin.pid);
    stage.until(|| pid().is_some()).await;
    let first = pid();
    stage.nri.look_again();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pid(), first, "it is the same");
    let dir = stage._dir.path();
    install(&dir.join("new"), "10-own", "");
    std::fs::rename(dir.join("new/plugins/10-own"), dir.join("plugins/10-own")).unwrap();
    stage.nri.look_again();
    stage.until(|| pid().is_some_and(|new| Some(new) != first)).await;
    assert_eq!(log.lines(&["INFO", "10-own", "its executable has been replaced"]).len(), 1);
    stage.nri.shutdown().await;
}

#[tokio::test]
async fn those_that_are_awaited_are_known_by_name() {
    let stage = Stage::with(
        |dir| install(dir, "20-silent", "exec sleep 600"),
        |settings| {
            settings.registration_timeout = Duration::from_millis(300);
        },
    );
    assert_eq!(stage.nri.awaited(), ["20-silent"]);
    stage.until(|| stage.nri.awaited().is_empty()).await;
    let absence = of(&stage, "20-silent").and_then(|plugin| plugin.absence).unwrap();
    assert!(absence.why.contains("did not register"), "{absence:?}");
    // Killed a while later, which is but what came of it.
    stage.until(|| of(&stage, "20-silent").is_some_and(|plugin| plugin.last_end.is_some())).await;
    assert_eq!(
        of(&stage, "20-silent").and_then(|plugin| plugin.last_end).unwrap(),
        "it was killed, as it did not register within nri.plugin_registration_timeout_ms (0.3 s)"
    );
    stage.nri.shutdown().await;
}
