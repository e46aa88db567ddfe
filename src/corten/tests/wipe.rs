//! `corten wipe` through the real binary, where there is nothing to take away or a daemon has it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Directories and a configuration of their own.
struct Place(tempfile::TempDir);

impl Place {
    fn new(more: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let root = place.0.path().display();
        let text = format!(
            "socket = \"{root}/run/corten.sock\"\nstate_dir = \"{root}/run\"\ndata_dir = \"{root}/data\"\n\
             [nri]\nenable = false\n{more}"
        );
        std::fs::write(place.path("corten.toml"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn wipe(&self, option: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command.args(["wipe", option, "--config"]).arg(self.path("corten.toml")).stdin(Stdio::null());
        command
    }
}

/// Runs on a host of its own, as far as that goes: no links, no packet rules, and a `/run` in which `before` is done.
fn apart(before: &str, command: &Command) -> Output {
    let script = format!("mount -t tmpfs run /run; {before}; exec \"$@\"");
    let mut apart = Command::new("unshare");
    apart.args(["-mn", "--propagation", "private", "sh", "-ec", &script, "sh"]);
    apart.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_empty_node_has_nothing_to_take_away() {
    if !need::root("namespaces are made") {
        return;
    }
    let place = Place::new("");
    let planned = apart(":", &place.wipe("--dry-run"));
    assert!(planned.status.success(), "{}", text(&planned.stderr));
    assert_eq!(text(&planned.stdout), "nothing of Corten's is here\n");
}

#[test]
fn where_others_pin_network_namespaces_stays_and_a_place_of_its_own_goes() {
    if !need::root("namespaces are made") {
        return;
    }
    for (directory, stays) in [("/run/netns", true), ("/run/corten-netns", false)] {
        let place = Place::new(&format!("[runtime]\nnetns_dir = \"{directory}\"\n"));
        let wipe = place.wipe("--yes");
        let mut looked = Command::new("sh");
        looked.args(["-ec", &format!("\"$@\"; if [ -d {directory} ]; then echo it stays; fi"), "sh"]);
        looked.arg(wipe.get_program()).args(wipe.get_args());
        let wiped = apart(&format!("mkdir {directory}"), &looked);
        assert!(wiped.status.success(), "{}", text(&wiped.stderr));
        assert_eq!(text(&wiped.stdout).contains("it stays"), stays, "{directory}: {}", text(&wiped.stdout));
    }
}

#[test]
fn a_daemon_is_named_by_its_process_its_directory_and_its_socket() {
    let place = Place::new("");
    std::fs::create_dir(place.path("run")).unwrap();
    let lock = place.path("run/corten.lock");
    std::fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
    let held = std::fs::File::open(&lock).unwrap();
    held.try_lock().unwrap();
    let refused = place.wipe("--yes").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    let holder = format!("process {} (", std::process::id());
    let (run, socket) = (place.path("run"), place.path("run/corten.sock"));
    for part in [holder, format!("has {}", run.display()), format!("answers on {}", socket.display())] {
        assert!(said.contains(&part), "no {part} in {said}");
    }
    assert!(said.contains("`systemctl stop corten`") && !said.contains("cannot start"), "{said}");
    let planned = place.wipe("--dry-run").output().unwrap();
    assert!(
        text(&planned.stdout).contains("now this would be refused: the daemon runs"),
        "{}",
        text(&planned.stdout)
    );
    drop(held);
}
