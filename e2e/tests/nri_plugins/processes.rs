//! Plugins that change the process: its limits, its environment, its hooks, its cgroup.

use crate::stage::Stage;
use crate::table::{Effect, same};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn ulimit_adjuster() {
    let wanted = [("open files, soft and hard", "1024 4096"), ("locked memory, soft and hard", "6453 9876")];
    same("ulimit-adjuster", &wanted, |stage| {
        let _plugin = stage.plugin("ulimit-adjuster", "10", &[]);
        let limits = "- type: RLIMIT_NOFILE\n  hard: 4096\n  soft: 1024\n- type: memlock\n  hard: 9876\n  soft: 6453\n";
        let annotations = [("ulimits.nri.containerd.io/container.main", limits)];
        // Of process 1: that of an exec has the same, but who looks is not to matter.
        let script = "awk '/open files/ { print $4, $5 } /locked memory/ { print $4, $5 }' /proc/1/limits";
        let said = stage.shown(&annotations, script);
        // In the order of the kernel's list.
        let mut lines = said.lines().map(str::to_owned);
        let files = lines.next().unwrap_or_default();
        vec![
            ("open files, soft and hard", files),
            ("locked memory, soft and hard", lines.next().unwrap_or_default()),
        ]
    });
}

#[test]
fn logger_changes_what_it_is_told_to() {
    same("logger", &[("a variable that it adds", "yes"), ("one that it sets", "yes")], |stage| {
        let arguments = ["-add-env", "ADDED", "-set-env", "HOSTNAME", "-events", "CreateContainer"];
        let plugin = stage.plugin("logger", "10", &arguments);
        let said = stage.shown(&[], "echo $ADDED; tr '\\0' '\\n' < /proc/1/environ | grep ^HOSTNAME=");
        let mark = format!("logger-pid-{}", plugin.pid());
        let mut lines = said.lines();
        let is =
            |line: Option<&str>, wanted: &str| if line == Some(wanted) { "yes" } else { "no" }.to_owned();
        vec![
            ("a variable that it adds", is(lines.next(), &mark)),
            ("one that it sets", is(lines.next(), &format!("HOSTNAME={mark}"))),
        ]
    });
}

/// Upstream's two examples, with another hook.
fn hooks(stage: &Stage) -> PathBuf {
    let trace = stage.directory("hooks").join("trace");
    let script = stage.directory("hooks").join("demo-hook.sh");
    let text = format!(
        "#!/bin/sh\nstatus=$(sed 's/.*\"status\": *\"\\([a-z]*\\)\".*/\\1/' | tr -d '\\n')\necho \"$*: $(env | grep -c DEMO_HOOK) $status\" >> {}\n",
        trace.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let files = [("always", r#"{"always": true}"#), ("shell", r#"{"commands": [".*/sh$"]}"#)].map(|(name, when)| {
        let hook = serde_json::json!({
            "path": script, "args": ["demo-hook.sh", name], "env": ["DEMO_HOOK=1", format!("DEMO_HOOK_{name}=1")],
        });
        let text = format!(
            r#"{{"version": "1.0.0", "when": {when}, "stages": ["createRuntime", "poststop"], "hook": {hook}}}"#
        );
        (format!("containers/oci/hooks.d/{name}.json"), text)
    });
    stage.add_to_etc(&files.each_ref().map(|(path, text)| (path.as_str(), text.clone())));
    trace
}

#[test]
fn hook_injector() {
    let wanted = [("hooks at the start", "always: 2, shell: 2"), ("hooks at the end", "always: 2, shell: 2")];
    same("hook-injector", &wanted, |stage| {
        let trace = hooks(stage);
        let read = || fs::read_to_string(&trace).unwrap_or_default();
        let names = |text: &str| {
            let mut lines: Vec<_> =
                text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(told, _)| told).collect();
            lines.sort_unstable();
            lines.join(", ")
        };
        let _plugin = stage.plugin("hook-injector", "10", &[]);
        let cri = stage.cri();
        let pod = stage.run(&cri, &[]).unwrap();
        let begun = read();
        stage.end(&cri, &pod);
        let ended = read();
        println!("{ended}");
        vec![
            ("hooks at the start", names(&begun)),
            ("hooks at the end", names(ended.strip_prefix(begun.as_str()).unwrap_or_default())),
        ]
    });
}

/// memory.high is a file of cgroup v2 alone.
#[test]
fn memory_qos() {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let told = if unified { "67108864" } else { "refused" };
    same("memory-qos", &[("memory.high of a class", told), ("memory.high by annotation", told)], |stage| {
        let config = stage.file(
            "memory-qos.yaml",
            "unifiedAnnotations: [memory.high]\nclasses:\n- name: half\n  swapLimitRatio: 0.5\n",
        );
        let mut command = Command::new(e2e::plugin::program("memory-qos").unwrap());
        command.args(["-name", "memory-qos", "-idx", "40", "-vv", "-config", &config]);
        let _plugin = stage.start(command, &["40-memory-qos"]);
        let script = "cat /sys/fs/cgroup/memory.high";
        vec![
            ("memory.high of a class", stage.shown(&[("class.memory-qos.nri.io", "half")], script)),
            (
                "memory.high by annotation",
                stage.shown(&[("memory.high.memory-qos.nri.io/main", "67108864")], script),
            ),
        ]
    });
}

#[test]
fn writable_cgroups() {
    same("writable-cgroups", &[("a cgroup of the container's own", "made")], |stage| {
        // This host's own mount may lack the option that the plugin insists on.
        let mounts = stage.file(
            "mountinfo",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
        );
        let _plugin = stage.plugin("writable-cgroups", "10", &["-host-mount-file", &mounts]);
        let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/pids; do mkdir $d/own 2>/dev/null && echo made && exit; done; echo none";
        let effect: Effect = (
            "a cgroup of the container's own",
            stage.shown(&[("writable-cgroups.noderesource.dev", "true")], script),
        );
        vec![effect]
    });
}
