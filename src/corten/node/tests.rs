#![allow(clippy::unwrap_used)]

use super::hand::{Ended, Hand};
use super::host::Host;
use super::{NodeError, OWN, Outcome, install, stay, uninstall};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

mod theirs;

/// systemctl and the programs of the host, as far as they are asked.
#[derive(Default)]
struct Fake {
    lines: RefCell<Vec<String>>,
    /// Beginnings of lines that fail, with what is said.
    failing: RefCell<Vec<(&'static str, &'static str)>>,
    /// What a wipe would take away.
    survey: RefCell<String>,
}

impl Hand for Fake {
    fn run(&self, program: &str, arguments: &[&str]) -> Result<Ended, NodeError> {
        let name = program.rsplit('/').next().unwrap();
        let line = format!("{name} {}", arguments.join(" "));
        if line == "corten wipe --dry-run" {
            return Ok(Ended { success: true, stdout: self.survey.borrow().clone(), stderr: String::new() });
        }
        let found = self.failing.borrow().iter().find(|(begin, _)| line.starts_with(begin)).copied();
        self.lines.borrow_mut().push(line);
        let said = found.map_or("", |(_, said)| said).to_owned();
        Ok(Ended { success: found.is_none(), stdout: said.clone(), stderr: said })
    }
}

impl Fake {
    /// What was asked since the last time, without the checks.
    fn asked(&self) -> Vec<String> {
        let lines = self.lines.take();
        lines.into_iter().filter(|line| !line.starts_with("corten check")).collect()
    }

    fn fails(&self, begin: &'static str, said: &'static str) {
        self.failing.borrow_mut().push((begin, said));
    }
}

struct Node {
    root: TempDir,
    source: TempDir,
    hand: Fake,
}

const CHECKED: &str = r#"{"findings":[{"check":"cni","level":"warning","found":"none"},
    {"check":"overlay","level":"error","found":"no overlay here","mend":"modprobe overlay"}]}"#;

impl Node {
    /// A host with systemd and an older corten of the administrator's own, and what is to be put there; `None` where files
    /// cannot be root's.
    fn new() -> Option<Self> {
        if !need::root("what is installed is root's") {
            return None;
        }
        let node = Self {
            root: tempfile::tempdir().unwrap(),
            source: tempfile::tempdir().unwrap(),
            hand: Fake::default(),
        };
        for (path, text) in [
            ("usr/bin/systemctl", ""),
            ("run/systemd/system/any", ""),
            ("var/lib/any", ""),
            ("usr/local/bin/corten", "the administrator's"),
            ("etc/crictl.yaml", "of containerd"),
        ] {
            put(&node.root.path().join(path), text);
        }
        fs::set_permissions(node.root.path().join("usr/local/bin/corten"), PermissionsExt::from_mode(0o710))
            .unwrap();
        for (path, text) in [
            ("usr/local/bin/corten", "one"),
            ("usr/local/lib/systemd/system/corten.service", "unit"),
            ("etc/corten/corten.toml", "empty"),
            ("etc/crictl.yaml", "of corten"),
        ] {
            put(&node.source.path().join(path), text);
        }
        Some(node)
    }

    fn install(&self, switch: bool) -> Result<Outcome, NodeError> {
        let host = Host::new(self.root.path());
        install::install(&host, &self.hand, &[self.source.path().to_path_buf()], switch)
    }

    fn uninstall(&self) -> Result<(Outcome, Vec<String>), NodeError> {
        uninstall::uninstall(&Host::new(self.root.path()), &self.hand)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.path().join(path)).ok()
    }

    fn process(&self, pid: u32, words: &[&str]) {
        self.process_in(self.root.path(), pid, words);
    }

    /// One that has another root, as those of nodes in containers have.
    fn process_in(&self, root: &Path, pid: u32, words: &[&str]) {
        let directory = self.root.path().join("proc").join(pid.to_string());
        put(&directory.join("comm"), &format!("{}\n", words[0]));
        put(&directory.join("cmdline"), &(words.join("\0") + "\0"));
        let _ = fs::remove_file(directory.join("root"));
        symlink(root, directory.join("root")).unwrap();
    }

    /// Everything of the host: bytes, mode and owner.
    fn all(&self) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        descend(self.root.path(), &mut found);
        found
    }
}

fn descend(path: &Path, found: &mut BTreeMap<PathBuf, (u32, u32, Vec<u8>)>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let bytes = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    found.insert(path.to_path_buf(), (meta.mode(), meta.uid(), bytes));
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| descend(&entry.unwrap().path(), found));
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_host_is_as_it_was_once_corten_has_come_and_gone() {
    let Some(node) = Node::new() else { return };
    let before = node.all();
    assert_eq!(node.install(false).unwrap(), Outcome::Done);
    assert_eq!(node.read("usr/local/bin/corten").unwrap(), "one");
    assert_eq!(node.read("etc/corten/corten.toml").unwrap(), "empty");
    assert_eq!(node.read("etc/crictl.yaml").unwrap(), "of containerd", "the administrator's own stays");
    let begun =
        ["systemctl daemon-reload", "systemctl enable corten.service", "systemctl restart corten.service"];
    assert_eq!(node.hand.asked(), begun);
    node.uninstall().unwrap();
    let ended =
        ["systemctl disable --now corten.service", "corten wipe --yes --images", "systemctl daemon-reload"];
    assert_eq!(node.hand.asked(), ended);
    assert_eq!(node.all(), before);
    node.uninstall().unwrap();
    assert_eq!(node.hand.asked(), [""; 0], "there is nothing left to undo");
}

#[test]
fn images_that_were_there_before_stay() {
    let Some(node) = Node::new() else { return };
    put(&node.root.path().join("var/lib/corten/images"), "");
    node.install(false).unwrap();
    let told = node.uninstall().unwrap().1.join("");
    assert!(told.contains("/var/lib/corten was there before, and stays"), "{told}");
    assert!(!node.hand.asked().iter().any(|line| line.contains("wipe")));
}

#[test]
fn a_host_that_cannot_run_pods_is_refused_as_it_is() {
    let Some(node) = Node::new() else { return };
    let before = node.all();
    node.hand.fails("corten check", CHECKED);
    let told = node.install(true).unwrap_err().to_string();
    assert!(told.ends_with("overlay: no overlay here (to mend it: modprobe overlay)"), "{told}");
    assert!(!told.contains("cni"), "a warning keeps nobody out: {told}");
    assert_eq!((node.all(), node.hand.asked()), (before.clone(), Vec::new()));

    node.hand.failing.borrow_mut().clear();
    node.hand.fails("corten check", "GLIBC_2.99 not found");
    let told = node.install(false).unwrap_err().to_string();
    assert!(told.contains("do not run here: GLIBC_2.99"), "{told}");
    assert_eq!(node.all(), before);
}

#[test]
fn the_checks_are_of_the_settings_that_are_to_come() {
    let Some(node) = Node::new() else { return };
    put(&node.root.path().join("etc/corten/conf.d/10-theirs.toml"), "theirs");
    put(&node.source.path().join("etc/corten/conf.d/50-chart.toml"), "chart");
    struct Looks<'a>(&'a Node, RefCell<Vec<String>>);
    impl Hand for Looks<'_> {
        fn run(&self, program: &str, arguments: &[&str]) -> Result<Ended, NodeError> {
            if arguments[0] == "check" {
                let settings = Path::new(arguments.last().unwrap().trim_start_matches('/')).parent().unwrap();
                for name in ["conf.d/10-theirs.toml", "conf.d/50-chart.toml"] {
                    let text = self.0.read(settings.join(name).to_str().unwrap());
                    self.1.borrow_mut().push(format!("{name} {}", text.unwrap_or_default()));
                }
                self.1.borrow_mut().push(self.0.read(program.trim_start_matches('/')).unwrap());
            }
            Ok(Ended { success: true, stdout: String::new(), stderr: String::new() })
        }
    }
    let looks = Looks(&node, RefCell::default());
    let host = Host::new(node.root.path());
    install::install(&host, &looks, &[node.source.path().to_path_buf()], false).unwrap();
    assert_eq!(looks.1.take(), ["conf.d/10-theirs.toml theirs", "conf.d/50-chart.toml chart", "one"]);
    assert!(!node.root.path().join(OWN.trim_start_matches('/')).join("staged").exists());
}

#[test]
fn an_upgrade_restarts_the_daemon_and_nothing_new_does_not() {
    let Some(node) = Node::new() else { return };
    let before = node.all();
    put(&node.source.path().join("usr/local/bin/corten-retired"), "old");
    node.install(false).unwrap();
    node.hand.asked();
    node.install(false).unwrap();
    assert_eq!(node.hand.asked(), ["systemctl enable corten.service", "systemctl start corten.service"]);

    put(&node.root.path().join("etc/corten/corten.toml"), "the administrator's");
    put(&node.source.path().join("usr/local/bin/corten"), "two");
    fs::remove_file(node.source.path().join("usr/local/bin/corten-retired")).unwrap();
    node.install(false).unwrap();
    let asked =
        ["systemctl daemon-reload", "systemctl enable corten.service", "systemctl restart corten.service"];
    assert_eq!(node.hand.asked(), asked);
    assert_eq!(node.read("usr/local/bin/corten").unwrap(), "two");
    assert_eq!(node.read("etc/corten/corten.toml").unwrap(), "the administrator's");
    assert_eq!(node.read("usr/local/bin/corten-retired"), None);
    node.uninstall().unwrap();
    assert_eq!(node.read("etc/corten/corten.toml").unwrap(), "the administrator's", "it stays");
    fs::remove_dir_all(node.root.path().join("etc/corten")).unwrap();
    assert_eq!(node.all(), before, "the first version's past, not the second's");
}

#[test]
fn a_version_that_does_not_start_gives_way_to_the_one_before() {
    let Some(node) = Node::new() else { return };
    let before = node.all();
    node.hand.fails("systemctl restart", "it exits");
    let told = node.install(false).unwrap_err().to_string();
    assert!(told.contains("`systemctl restart corten.service` failed on this host: it exits"), "{told}");
    assert_eq!(node.all(), before, "the first one");

    node.hand.failing.borrow_mut().clear();
    node.install(false).unwrap();
    let installed = node.all();
    put(&node.source.path().join("usr/local/bin/corten"), "two");
    put(&node.source.path().join("usr/local/bin/corten-new"), "two");
    node.hand.fails("systemctl restart", "it exits");
    node.install(false).unwrap_err();
    assert_eq!(node.all(), installed);
    assert_eq!(node.hand.asked().last().unwrap(), "systemctl restart corten.service");
}

#[test]
fn what_a_killed_installer_has_begun_is_undone() {
    let Some(node) = Node::new() else { return };
    let before = node.all();
    node.install(false).unwrap();
    // It was killed between the record and the file.
    fs::remove_file(node.root.path().join("usr/local/lib/systemd/system/corten.service")).unwrap();
    fs::remove_dir(node.root.path().join("usr/local/lib/systemd/system")).unwrap();
    node.uninstall().unwrap();
    assert_eq!(node.all(), before);
    // And between the daemon's end and the files'.
    node.install(false).unwrap();
    let record = node.root.path().join(OWN.trim_start_matches('/')).join("record.json");
    let text = fs::read_to_string(&record).unwrap().replace("\"ended\":false", "\"ended\":true");
    fs::write(&record, text).unwrap();
    node.hand.asked();
    node.uninstall().unwrap();
    assert_eq!(node.hand.asked(), ["systemctl daemon-reload"], "its program may be gone");
    assert_eq!(node.all(), before);
}

#[test]
fn other_installations_and_hosts_without_systemd_are_refused() {
    let Some(node) = Node::new() else { return };
    put(&node.root.path().join("usr/lib/systemd/system/corten.service"), "of a package");
    let told = node.install(false).unwrap_err().to_string();
    assert!(told.contains("/usr/lib/systemd/system/corten.service is of another installation"), "{told}");
    fs::remove_dir_all(node.root.path().join("run/systemd")).unwrap();
    assert!(matches!(node.install(false), Err(NodeError::NoSystemd)));
}

#[test]
fn pods_keep_their_runtime() {
    let Some(node) = Node::new() else { return };
    node.install(false).unwrap();
    node.hand.survey.replace("pod test/one 1234, containers: 1\nfiles /run/corten\n".to_owned());
    let installed = node.all();
    let told = node.uninstall().unwrap_err().to_string();
    assert!(told.contains("pods run here by corten (1): drain the node"), "{told}");
    assert_eq!(node.all(), installed);
}

#[test]
fn links_of_a_host_lead_where_they_lead_there() {
    let Some(node) = Node::new() else { return };
    fs::rename(node.root.path().join("usr/local"), node.root.path().join("opt")).unwrap();
    symlink("/opt", node.root.path().join("usr/local")).unwrap();
    node.install(false).unwrap();
    assert_eq!(node.read("opt/bin/corten").unwrap(), "one");
    symlink("/var/round", node.root.path().join("var/round")).unwrap();
    let host = Host::new(node.root.path());
    assert!(matches!(host.path(Path::new("/var/round/x")), Err(NodeError::Links(_))));
}

const FLAGS: &str = "KUBELET_KUBEADM_ARGS=\"--v=2 --container-runtime-endpoint=unix:///run/containerd/containerd.sock --x=y\"\n";

#[test]
fn a_kubelet_with_drop_ins_is_switched_and_back() {
    let Some(node) = Node::new() else { return };
    for pid in [5, 90] {
        node.process_in(node.source.path(), pid, &["kubelet", "--config=/of-another"]);
    }
    node.process(9, &["kubelet", "--config=/c", "--config-dir", "/etc/kubelet.d"]);
    put(&node.root.path().join("etc/kubelet.d/10-theirs.conf"), "theirs");
    let before = node.all();
    assert_eq!(node.install(true).unwrap(), Outcome::Moved);
    assert_eq!(node.hand.asked().last().unwrap(), "systemctl restart kubelet.service");
    let text = node.read("etc/kubelet.d/90-corten.conf").unwrap();
    assert!(text.contains("\ncontainerRuntimeEndpoint: unix:///run/corten/corten.sock\n"), "{text}");
    assert_eq!(node.install(true).unwrap(), Outcome::Done);
    assert!(!node.hand.asked().contains(&"systemctl restart kubelet.service".to_owned()), "once is enough");
    assert_eq!(node.install(false).unwrap(), Outcome::Moved, "and back, by the chart's value alone");
    assert_eq!(node.hand.asked().last().unwrap(), "systemctl restart kubelet.service");
    assert_eq!(node.read("etc/kubelet.d/90-corten.conf"), None);
    node.install(true).unwrap();
    node.uninstall().unwrap();
    assert_eq!(node.all(), before);
}

#[test]
fn a_kubelet_of_kubeadm_is_switched_and_back() {
    let Some(node) = Node::new() else { return };
    node.process(9, &["kubelet", "--container-runtime-endpoint=unix:///run/containerd/containerd.sock"]);
    let file = "var/lib/kubelet/kubeadm-flags.env";
    put(&node.root.path().join(file), FLAGS);
    let before = node.all();
    node.install(true).unwrap();
    let theirs = "unix:///run/containerd/containerd.sock";
    let ours = FLAGS.replace(theirs, "unix:///run/corten/corten.sock");
    assert_eq!(node.read(file).unwrap(), ours);
    node.uninstall().unwrap();
    assert_eq!(node.all(), before);
    // kubeadm has written it anew meanwhile.
    node.install(true).unwrap();
    put(&node.root.path().join(file), &ours.replace("--v=2", "--v=4"));
    node.install(false).unwrap();
    assert_eq!(node.read(file).unwrap(), FLAGS.replace("--v=2", "--v=4"));
}

#[test]
fn a_kubelet_that_cannot_be_told_or_does_not_start_keeps_its_runtime() {
    let Some(node) = Node::new() else { return };
    let file = "var/lib/kubelet/kubeadm-flags.env";
    let refused = |part: &str| {
        let told = node.install(true).unwrap_err().to_string();
        assert!(told.starts_with("the kubelet is not switched: ") && told.contains(part), "{told}");
        assert!(!node.hand.asked().contains(&"systemctl restart kubelet.service".to_owned()));
    };
    refused("no kubelet runs");
    node.process(9, &["kubelet", "--config=/c"]);
    refused("no directory of drop-ins");
    node.process(9, &["kubelet", "--config-dir=/absent"]);
    refused("/absent, is not there");
    node.process(9, &["kubelet", "--container-runtime-endpoint", "unix:///a"]);
    refused("take the flag away");

    put(&node.root.path().join(file), FLAGS);
    node.hand.fails("systemctl restart kubelet", "no");
    node.install(true).unwrap_err();
    assert_eq!(node.read(file).unwrap(), FLAGS);
    node.hand.failing.borrow_mut().clear();
    node.install(true).unwrap();
    assert_ne!(node.read(file).unwrap(), FLAGS);
}

#[test]
fn what_became_of_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let arguments = cli::node::HostArgs { root: "/".into(), report: Some(report.clone()), stay: false };
    assert!(stay::ready(&report).is_err(), "nothing is told yet");
    stay::run(&arguments, || Err(NodeError::NoSystemd)).unwrap_err();
    let told = stay::ready(&report).unwrap_err().to_string();
    assert!(told.contains("it has no systemctl"), "{told}");
    stay::run(&arguments, || Ok(Outcome::Done)).unwrap();
    stay::ready(&report).unwrap();
}
