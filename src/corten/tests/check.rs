//! `corten check` through the real binary: what scripts and operators see of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Directories and a configuration of their own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.configure("");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, more: &str) {
        let root = self.0.path().display();
        let text = format!(
            "socket = \"{root}/run/corten.sock\"\nstate_dir = \"{root}/run\"\ndata_dir = \"{root}/data\"\n\
             [images]\ncerts_dir = \"{root}/certs.d\"\n\
             [network]\nconf_dir = \"{root}/net.d\"\n\
             [runtime]\nshim = \"/bin/true\"\npause = \"/bin/true\"\nnetns_dir = \"{root}/netns\"\n{more}"
        );
        std::fs::write(self.path("corten.toml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command.args(["check", "--config"]).arg(self.path("corten.toml")).stdin(Stdio::null());
        command
    }

    fn check(&self) -> Report {
        Report::of(self.command().arg("--json"))
    }
}

/// What it says in JSON, and how it ends.
struct Report {
    code: Option<i32>,
    whole: Value,
}

impl Report {
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let whole = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&stderr)));
        Self { code: status.code(), whole }
    }

    /// The findings of a check, as "level: what was found".
    fn of_check(&self, check: &str) -> Vec<String> {
        let findings = self.whole["findings"].as_array().unwrap().iter().filter(|one| one["check"] == check);
        findings
            .map(|one| format!("{}: {}", one["level"].as_str().unwrap(), one["found"].as_str().unwrap()))
            .collect()
    }

    fn first(&self, check: &str) -> String {
        self.of_check(check).into_iter().next().unwrap_or_else(|| panic!("no {check} in {}", self.whole))
    }
}

/// Runs in a mount namespace of its own, where a command is carried out before.
fn after(before: &str, command: &mut Command) -> Command {
    let mut apart = Command::new("unshare");
    apart.args(["-m", "--propagation", "private", "sh", "-ec", &format!("{before}; exec \"$@\""), "sh"]);
    apart.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    apart
}

fn is_overlay(path: &Path) -> bool {
    rustix::fs::statfs(path).unwrap().f_type == 0x794c_7630
}

#[test]
fn a_host_that_can_passes_and_nothing_is_left_of_the_tries() {
    let place = Place::new();
    if !need::root("an overlay is mounted") || is_overlay(place.0.path()) {
        return;
    }
    let report = place.check();
    assert_eq!(report.code, Some(0), "{}", report.whole);
    assert_eq!(report.whole["errors"], 0);
    for check in
        ["configuration", "kernel", "namespaces", "seccomp", "overlay", "cgroups", "daemon", "nftables"]
    {
        assert!(report.first(check).starts_with("ok: "), "{}", report.first(check));
    }
    for finding in report.whole["findings"].as_array().unwrap().iter().filter(|one| one["level"] != "ok") {
        assert!(finding["costs"].is_string() && finding["mend"].is_string(), "{finding}");
    }
    let names: Vec<_> =
        std::fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["corten.toml"], "directories are the daemon's to make");
    let network = Command::new("ip").args(["-o", "link", "show", "check0"]).output();
    assert!(network.is_ok_and(|shown| !shown.status.success()), "the bridge was made in the host's network");
}

#[test]
fn what_is_of_the_wrong_kind_is_named_with_what_comes_of_it() {
    let place = Place::new();
    assert_eq!(place.check().of_check("state"), ["ok: everything is of the kind that the daemon makes"]);
    let make = |name: &str| std::fs::create_dir_all(place.path(name)).unwrap();
    let link = |name: &str| {
        make(name.rsplit_once('/').unwrap().0);
        std::os::unix::fs::symlink("/dev/zero", place.path(name)).unwrap();
    };
    let files = [
        "run/boot-id",
        "run/pods/0123/pod.json",
        "run/pods/0123/containers/4567.json",
        "run/network/attachments/0123-eth0.json",
        "run/network/ipam/corten/lock",
        "data/network/subnets.json",
        "data/images-root",
    ];
    files.iter().for_each(|name| make(name));
    let directories = ["run/pods/foo", "run/pods/4567/containers", "data/containers"];
    directories.iter().for_each(|name| link(name));
    let report = place.check();
    let mut told = report.of_check("state");
    told.sort();
    let line = |kind: &'static str| {
        let place = &place;
        move |name: &&str| format!("warning: {} is no {kind}", place.path(name).display())
    };
    let mut expected: Vec<_> = files.iter().map(line("regular file")).collect();
    expected.extend(directories.iter().map(line("directory")));
    expected.sort();
    assert_eq!(told, expected);

    link("run/network/ipam/corten-1");
    let lost = format!("warning: {} is no directory", place.path("run/network/ipam/corten-1").display());
    assert!(place.check().of_check("state").contains(&lost));
    make("data/corten.lock");
    let report = place.check();
    assert_eq!(report.code, Some(1));
    assert!(
        report.first("state").starts_with("error: ") && report.first("state").contains("data/corten.lock")
    );
}

#[test]
fn people_read_lines_without_colours_in_a_pipe_and_only_faults_when_asked() {
    let place = Place::new();
    let all = place.command().output().unwrap();
    let text = String::from_utf8(all.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.lines().any(|line| line.starts_with("ok ") && line.contains(" configuration ")), "{text}");
    assert!(text.lines().last().unwrap().contains(" warning"), "{text}");
    let quiet = place.command().arg("--quiet").output().unwrap();
    let quiet = String::from_utf8(quiet.stdout).unwrap();
    assert!(!quiet.lines().any(|line| line.starts_with("ok ")), "{quiet}");
}

#[test]
fn a_data_directory_in_which_no_container_can_live_is_an_error() {
    let place = Place::new();
    if !need::root("mounts are made") {
        return;
    }
    let data = place.path("data");
    std::fs::create_dir(&data).unwrap();
    let mount = format!("mount -t tmpfs -o noexec check {}", data.display());
    let report = Report::of(&mut after(&mount, place.command().arg("--json")));
    assert_eq!(report.code, Some(1), "{}", report.whole);
    assert!(report.first("mount-options").starts_with("error: data_dir "), "{}", report.whole);
    let overlay = format!(
        "mount -t tmpfs check {0}; mkdir {0}/l {0}/u {0}/w; mount -t overlay -o lowerdir={0}/l,upperdir={0}/u,workdir={0}/w check {0}",
        data.display()
    );
    let report = Report::of(&mut after(&overlay, place.command().arg("--json")));
    assert_eq!(report.code, Some(1), "{}", report.whole);
    assert!(report.first("overlay").starts_with("error: data_dir "), "{}", report.first("overlay"));
    assert_eq!(report.of_check("settings"), [""; 0], "each fault is told once");
}

#[test]
fn wrong_settings_are_errors_with_their_line_and_the_host_is_looked_at_all_the_same() {
    let place = Place::new();
    place.configure("shm_sise = 1\n");
    let report = place.check();
    assert_eq!(report.code, Some(1));
    let expected = format!(
        "{}:12: unknown key `runtime.shm_sise`, did you mean `runtime.shm_size`?",
        place.path("corten.toml").display()
    );
    assert_eq!(report.first("configuration"), format!("error: {expected}"));
    assert!(report.first("kernel").contains("Linux"), "{}", report.whole);
    place.configure("kill_timeout_seconds = 10\n[stream]\naddress = \"192.0.2.1:0\"\n");
    let report = place.check();
    assert!(report.first("settings").contains("192.0.2.1 is no address of this host"), "{}", report.whole);
    assert_eq!(report.code, Some(1), "the daemon would not start");
}

#[test]
fn networks_are_named_and_their_faults_are_warnings() {
    let place = Place::new();
    std::fs::create_dir(place.path("net.d")).unwrap();
    assert!(place.check().first("cni").starts_with("ok: the built-in network"));
    let without = Report::of(place.command().args(["--json", "--no-builtin-network"]));
    assert!(without.first("cni").starts_with("warning: no valid CNI configuration"), "{}", without.whole);
    std::fs::write(place.path("net.d/05-broken.conflist"), "{").unwrap();
    let list = |subnet: &str| {
        format!(
            r#"{{"cniVersion": "1.0.0", "name": "podnet", "plugins": [{{"type": "bridge", "bridge": "pods7",
            "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}"}}]]}}}}, {{"type": "no-such-plugin"}}]}}"#
        )
    };
    std::fs::write(place.path("net.d/10-net.conflist"), list("198.51.100.0/24")).unwrap();
    let told = place.check().of_check("cni").join("\n");
    assert!(told.contains("ok: podnet from ") && told.contains("bridge, no-such-plugin"), "{told}");
    assert!(told.contains("05-broken.conflist"), "{told}");
    assert!(told.contains("no CNI plugin no-such-plugin in"), "{told}");
    if !need::root("a network namespace is made") {
        return;
    }
    let route = "mount -t sysfs sysfs /sys 2>/dev/null || true; ip link add d0 type bridge; ip link set d0 up; ip route add 198.51.100.128/25 dev d0";
    let mut apart = Command::new("unshare");
    apart.args(["-n", "sh", "-ec", &format!("{route}; exec \"$@\""), "sh"]);
    let command = place.command();
    apart.arg(command.get_program()).args(command.get_args()).arg("--json");
    let report = Report::of(&mut after(":", &mut apart));
    assert!(report.first("subnets").ends_with("overlaps 198.51.100.128/25 on d0"), "{}", report.whole);
}

#[test]
fn what_the_kernel_is_set_to_is_told_with_how_to_change_it() {
    if !need::root("a file is put over another") {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("zero"), "0\n").unwrap();
    let bind = format!("mount --bind {} /proc/sys/net/ipv4/ip_forward", place.path("zero").display());
    let report = Report::of(&mut after(&bind, place.command().arg("--json")));
    assert!(
        report.of_check("sysctl").contains(&"warning: net.ipv4.ip_forward is 0".to_owned()),
        "{}",
        report.whole
    );
    let findings = report.whole["findings"].as_array().unwrap();
    let finding = findings.iter().find(|one| one["found"] == "net.ipv4.ip_forward is 0").unwrap();
    assert!(
        finding["mend"].as_str().unwrap().starts_with("net.ipv4.ip_forward = 1 in /etc/sysctl.d"),
        "{finding}"
    );
}

#[test]
fn a_daemon_with_the_same_directories_is_noticed_and_one_with_half_of_them_is_an_error() {
    let place = Place::new();
    for name in ["run", "data"] {
        std::fs::create_dir(place.path(name)).unwrap();
        std::fs::write(place.path(name).join("corten.lock"), "").unwrap();
    }
    let held = |name: &str| {
        let file = std::fs::File::open(place.path(name).join("corten.lock")).unwrap();
        file.try_lock().unwrap();
        file
    };
    let state = held("run");
    let report = place.check();
    let holder = format!("process {}", std::process::id());
    assert!(
        report.first("daemon").starts_with(&format!("error: state_dir is in use by {holder}")),
        "{}",
        report.whole
    );
    assert_eq!(report.code, Some(1));
    let data = held("data");
    assert!(place.check().first("daemon").starts_with(&format!("ok: runs, as {holder}")));
    drop((state, data));
    assert!(place.check().first("daemon").starts_with("ok: no other daemon"));
}

#[test]
fn plugins_that_are_required_or_cannot_be_started_are_warned_of() {
    let place = Place::new();
    let plugins = place.path("plugins");
    std::fs::create_dir_all(plugins.join("disabled")).unwrap();
    for (file, mode) in [("10-good", 0o755), ("20-closed", 0o644), ("unnamed", 0o755)] {
        std::fs::write(plugins.join(file), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(plugins.join(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("/no/such", plugins.join("30-link")).unwrap();
    let (plugins, socket) = (plugins.display().to_string(), place.path("nri.sock").display().to_string());
    let nri = format!("[nri]\nplugin_path = \"{plugins}\"\nsocket_path = \"{socket}\"\n");
    let judge =
        "[nri.default_validator]\nenable = true\nrequired_plugins = [\"good\", \"closed\", \"policy\"]\n";
    place.configure(&format!("{nri}{judge}"));
    let report = place.check();
    assert_eq!(report.code, Some(0), "{}", report.whole);
    let expected = [
        "ok: installed: 10-good".to_owned(),
        format!("warning: {plugins}/20-closed is not started as a plugin: nobody may execute it"),
        format!("warning: {plugins}/30-link is not started as a plugin: it is a link to /no/such"),
        format!("warning: {plugins}/disabled is not started as a plugin: it is a directory"),
        format!("warning: {plugins}/unnamed is not started as a plugin: its name is not of the form 10-name"),
        format!("warning: plugin closed is required, and not installed in {plugins}"),
        format!("warning: plugin policy is required, and not installed in {plugins}"),
    ];
    let told = report.of_check("nri");
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    assert!(told.iter().zip(&expected).all(|(told, begin)| told.starts_with(begin)), "{told:#?}");
    let last =
        report.whole["findings"].as_array().unwrap().iter().rfind(|one| one["check"] == "nri").unwrap();
    assert_eq!(last["costs"], format!("no container is created until it connects at {socket}"));
    let findings = report.whole["findings"].as_array().unwrap();
    let link = findings.iter().find(|one| one["found"].as_str().unwrap().contains("30-link")).unwrap();
    assert_eq!(link["mend"], "put there what it leads to, or remove the link");
    // Off is off.
    place.configure(&format!("{nri}enable = false\n"));
    assert_eq!(place.check().of_check("nri"), ["ok: off, as nri.enable is false"]);
    place.configure(&format!("{}plugin_path = \"/no/such\"\n", "[nri]\ndisable_connections = true\n"));
    assert_eq!(place.check().of_check("nri"), ["ok: on, no plugin is installed in /no/such"]);
}
