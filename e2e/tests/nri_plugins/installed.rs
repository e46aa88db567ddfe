//! logger as a plugin that is installed: an executable in a directory, its configuration in another.

use crate::stage::Stage;
use crate::table::{ANY, Subject, same};
use e2e::plugin;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::symlink;

/// What it does with each container is to name its process there.
const CONFIG: &str = "events: [CreateContainer]\naddEnv: FROM_LOGGER\n";

/// Puts it where the daemon's next start finds it.
fn install(stage: &mut Stage) {
    let place = stage.world.daemon.place().clone();
    let (plugins, configs) = (place.data.join("nri/plugins"), place.data.join("nri/conf.d"));
    for directory in [&plugins, &configs, &place.root.join("conf.d")] {
        fs::create_dir_all(directory).unwrap();
    }
    symlink(plugin::program("logger").unwrap(), plugins.join("10-logger")).unwrap();
    fs::write(configs.join("logger.conf"), CONFIG).unwrap();
    // The peer's configuration names these directories already.
    let text = format!("[nri]\nplugin_path = {plugins:?}\nplugin_config_path = {configs:?}\n");
    fs::write(place.root.join("conf.d/nri.toml"), text).unwrap();
    stage.world.daemon.kill().unwrap();
    stage.world.daemon.restart().unwrap();
}

/// The process that a new container was seen by.
fn seen_by(stage: &Stage) -> Option<i32> {
    stage.shown(&[], "echo $FROM_LOGGER").strip_prefix("logger-pid-")?.parse().ok()
}

fn log(stage: &Stage) -> String {
    fs::read_to_string(&stage.world.daemon.place().log).unwrap()
}

#[test]
fn logger_is_started_and_configured() {
    // The peer neither starts it again nor keeps what it says.
    let wanted = [
        ("installed: it is started, and its configuration is read", "yes"),
        ("installed: it runs again when it was killed", ANY),
        ("installed: what it says is in the log", ANY),
    ];
    same("logger", &wanted, |stage| {
        install(stage);
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let first = seen_by(stage);
        let mut last = first;
        let mut again = true;
        let of_corten = stage.subject != Subject::Containerd;
        // Twice, as it is waited longer each time.
        for pause in ["again_in=1s", "again_in=2s"] {
            let Some(pid) = last else { break };
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            stage.until("yes", || yes(!of_corten || log(stage).contains(pause)));
            let joins = || log(stage).lines().filter(|line| line.contains("a plugin has joined")).count();
            let before = joins();
            stage.until("yes", || yes(!of_corten || joins() > before));
            let next = seen_by(stage);
            again &= next.is_some() && next != last && (!of_corten || log(stage).contains(pause));
            last = next;
        }
        again &= last.is_some();
        let says = log(stage)
            .lines()
            .any(|line| line.contains("10-logger") && line.contains("CreateContainer: pod:"));
        if of_corten {
            assert!(again && says, "again: {again}, in the log: {says}");
        }
        vec![
            ("installed: it is started, and its configuration is read", yes(first.is_some())),
            ("installed: it runs again when it was killed", yes(again)),
            ("installed: what it says is in the log", yes(says)),
        ]
    });
}
