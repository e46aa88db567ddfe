//! The Helm chart: rendered, refused, and its life on a node whose kubelet asks containerd.

use crate::stage::PATIENCE;
use e2e::client::Cri;
use e2e::cluster::{Cluster, Options};
use e2e::command::{self, Finished};
use e2e::host::Host;
use e2e::image::Image;
use e2e::layer::{Entry, Layer};
use e2e::pods::shell;
use e2e::runtime::Kind;
use e2e::world::BUSYBOX;
use e2e::{installer, pods, tools, wait};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What helm takes the cluster's version for where it asks none.
const KUBERNETES: [&str; 2] = ["--kube-version", "1.36.2"];
const IMAGE: &str = "registry.test/corten";

fn chart() -> PathBuf {
    tools::repository().join("charts/corten")
}

/// helm, with everything of its own below a directory.
fn helm(own: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::go_tool("helm", "cluster").unwrap());
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, own.join(name));
    }
    command.args(arguments);
    command
}

/// The chart rendered with some values.
fn render(own: &Path, values: &Value) -> Finished {
    let file = own.join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let mut command = helm(own, &["template", "node", chart().to_str().unwrap(), "--values"]);
    command.arg(&file).args(KUBERNETES);
    command::finish(&mut command, PATIENCE).unwrap()
}

/// Values that have everything made.
fn everything() -> Value {
    json!({
        "metrics": {"monitor": "service"}, "dashboard": {"enabled": true}, "alerts": {"enabled": true},
        "runtimeClasses": [{"name": "corten", "handler": "native", "scheduling": {"nodeSelector": {"a": "b"}}}],
        "certsD": {"registry.test:5000": "server = \"http://registry.test:5000\"\n"}, "config": "[log]\nlevel = \"info\"\n",
        "kubelet": {"switch": true}, "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-node-critical", "imagePullSecrets": [{"name": "pull"}],
    })
}

#[test]
fn the_chart_renders_and_refuses_values_that_are_none() {
    let own = tempfile::tempdir().unwrap();
    let mut lint = helm(own.path(), &["lint", "--strict", chart().to_str().unwrap()]);
    command::run(lint.args(KUBERNETES), PATIENCE).unwrap();
    let kinds = |values: &Value| {
        let rendered = render(own.path(), values);
        assert!(rendered.status.success(), "{}", rendered.stderr);
        let kinds = rendered.stdout.lines().filter_map(|line| line.strip_prefix("kind: "));
        let mut kinds: Vec<_> = kinds.map(str::to_owned).collect();
        kinds.sort();
        (kinds, rendered.stdout)
    };
    let (plain, text) = kinds(&json!({}));
    let hooks = ["Job", "Role", "RoleBinding", "ServiceAccount"];
    assert_eq!(
        plain,
        ["ConfigMap", "DaemonSet", "Job", "Role", "RoleBinding", "ServiceAccount", "ServiceAccount"]
    );
    assert!(!text.contains("--switch"), "{text}");
    let (left, text) = kinds(&json!({"onUninstall": {"clean": false}}));
    assert_eq!(left, ["ConfigMap", "DaemonSet", "ServiceAccount"]);
    assert!(!text.contains("Role"), "the installers may do nothing: {text}");
    let (all, text) = kinds(&everything());
    let wanted = [
        "ConfigMap",
        "ConfigMap",
        "DaemonSet",
        "PrometheusRule",
        "RuntimeClass",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    ];
    let mut wanted: Vec<_> = wanted.into_iter().chain(hooks).collect();
    wanted.sort_unstable();
    assert_eq!(all, wanted);
    for part in ["- --switch\n", "alert: CortenDown", "etc/corten/certs.d/registry.test:5000/hosts.toml"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(kinds(&json!({"metrics": {"monitor": "pod"}})).0.contains(&"PodMonitor".to_owned()));

    for (values, key) in [
        (json!({"kubelet": {"swich": true}}), "swich"),
        (json!({"kubelet": {"switch": "yes"}}), "/kubelet/switch"),
        (json!({"hostRoot": "host"}), "/hostRoot"),
        (json!({"certsD": {"../../etc": "x"}}), "../../etc"),
        (json!({"runtimeClasses": [{"name": "x"}]}), "handler"),
        (json!({"metrics": {"monitor": "both"}}), "/metrics/monitor"),
        (json!({"maxUnavailable": 0}), "/maxUnavailable"),
        (json!({"onUninstall": {"patienceSeconds": 0}}), "/onUninstall/patienceSeconds"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
    ] {
        let refused = render(own.path(), &values);
        assert!(!refused.status.success() && refused.stderr.contains(key), "{values}: {}", refused.stderr);
    }
}

/// The chart's life on a cluster.
pub(crate) struct Release {
    pub(crate) cluster: Cluster,
    pub(crate) host: Host,
    own: PathBuf,
}

impl Release {
    /// helm with the values of this host and more, which may not wait for what it has changed.
    pub(crate) fn helm(&self, verb: &[&str], more: &Value) {
        let said = self.try_helm(verb, more);
        assert!(said.status.success(), "{}", said.stderr);
    }

    /// The same, for what may be refused.
    pub(crate) fn try_helm(&self, verb: &[&str], more: &Value) -> Finished {
        let mut values = json!({
            "image": {"repository": IMAGE, "tag": "1"}, "hostRoot": self.host.root(),
            "config": "[network]\nbuiltin_network = true\n[runtime]\ncgroup_driver = \"cgroupfs\"\n",
            "certsD": {"_default": format!("[host.\"http://{}\"]\n", self.cluster.node.world.registry.address())},
        });
        values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let file = self.own.join("values.json");
        fs::write(&file, values.to_string()).unwrap();
        let mut command = helm(&self.own, verb);
        command.args(["--kubeconfig"]).arg(self.cluster.kubectl.config());
        if ["install", "upgrade"].contains(&verb[0]) {
            command.arg(chart()).arg("--values").arg(&file);
        }
        let said = command::finish(&mut command, 2 * PATIENCE).unwrap();
        println!("$ helm {}\n{}{}", verb.join(" "), said.stdout, said.stderr);
        said
    }

    /// The number of the release's last revision.
    pub(crate) fn revision(&self) -> String {
        let mut command = helm(&self.own, &["history", "corten", "--max", "1", "--output", "json"]);
        command.args(["--kubeconfig"]).arg(self.cluster.kubectl.config());
        let list: Value = serde_json::from_str(&command::run(&mut command, PATIENCE).unwrap()).unwrap();
        list[0]["revision"].to_string()
    }

    /// Waits until every node is as it is to be.
    pub(crate) fn rolled_out(&self) {
        let line = ["rollout", "status", "daemonset/corten", "--timeout=110s"];
        println!("$ kubectl {}\n{}", line.join(" "), self.cluster.kubectl.run(&line).unwrap());
    }

    /// Waits for an event of the chart's pods that says something.
    fn told(&self, part: &str) {
        let wanted = |list: &Value| {
            let messages = list["items"].as_array()?.iter().filter_map(|event| event["message"].as_str());
            messages.filter(|message| message.contains(part)).map(str::to_owned).next()
        };
        let line = ["get", "events", "--field-selector", "reason=Unhealthy"];
        let message = self.cluster.kubectl.until("an event that says why", &line, PATIENCE, wanted).unwrap();
        println!("event: {message}");
    }

    /// Waits for the message of a container that has ended.
    fn ended_with(&self, part: &str) {
        let wanted = |list: &Value| {
            let status = &list["items"][0]["status"]["containerStatuses"][0];
            let message = [&status["state"], &status["lastState"]]
                .into_iter()
                .find_map(|state| state["terminated"]["message"].as_str())?;
            message.contains(part).then(|| message.to_owned())
        };
        let line = ["get", "pods", "--selector", "app.kubernetes.io/name=corten"];
        let message = self.cluster.kubectl.until("a message that says why", &line, PATIENCE, wanted).unwrap();
        println!("termination message: {message}");
    }

    async fn cri(&self) -> Cri {
        Cri::connect(&self.host.root().join("run/corten/corten.sock")).await.unwrap()
    }
}

/// A version of the image whose program has other bytes than the last one's.
fn second(first: &Image, program: Vec<u8>) -> Image {
    let path = "payload/usr/local/bin/corten";
    let mut image = first.clone();
    image.layers.push(Layer::default().with(path, 0o755, Entry::File(program)));
    image
}

pub(crate) fn release(name: &str) -> Option<Release> {
    let options = Options { kind: Kind::Containerd, dns: false, ..Options::new(name) };
    let cluster = Cluster::start(&options).unwrap()?;
    let isolation = &cluster.node.world.isolation;
    let host = Host::make(isolation).unwrap();
    let own = isolation.directory("helm").unwrap();
    let image = installer::image(&tools::dist()).unwrap();
    let registry = &cluster.node.world.registry;
    registry.push("corten", "1", &image).unwrap();
    let mut program = fs::read(tools::corten("corten").unwrap()).unwrap();
    program.extend_from_slice(b"second");
    registry.push("corten", "2", &second(&image, program)).unwrap();
    // What an administrator had here before.
    let theirs = host.root().join("usr/local/bin/corten");
    fs::write(&theirs, "#!/bin/sh\necho of the administrator\n").unwrap();
    fs::write(host.root().join("etc/crictl.yaml"), "runtime-endpoint: unix:///theirs\n").unwrap();
    Some(Release { cluster, host, own })
}

#[test]
fn the_chart_comes_upgrades_and_goes_on_a_node_of_containerd() {
    let Some(release) = release("chart") else { return };
    let before = release.host.files();
    let rendered = render(
        &release.own,
        &json!({"runtimeClasses": everything()["runtimeClasses"],
        "certsD": everything()["certsD"], "dashboard": {"enabled": true}, "kubelet": {"switch": true}}),
    );
    let manifests = release.own.join("rendered.yaml");
    fs::write(&manifests, rendered.stdout).unwrap();
    let dry = ["apply", "--dry-run=server", "--filename", manifests.to_str().unwrap()];
    println!("$ kubectl apply --dry-run=server\n{}", release.cluster.kubectl.run(&dry).unwrap());

    refused(&release);
    // The container is started again and again, and looks at the node each time.
    let as_it_was = || release.host.files() == before;
    wait::until("a refused node as it was", Duration::from_secs(60), as_it_was).unwrap();
    release.helm(&["upgrade", "corten"], &json!({}));
    release.rolled_out();
    let asked = ["daemon-reload", "enable corten.service", "restart corten.service"];
    assert_eq!(release.host.asked(), asked);
    upgraded(&release);

    release.helm(&["upgrade", "corten"], &json!({"uninstall": true}));
    release.rolled_out();
    as_before(&release, &before);
    release.helm(&["upgrade", "corten"], &json!({}));
    release.rolled_out();
    kept(&release);
    release.helm(&["uninstall", "corten", "--wait"], &json!({}));
    as_before(&release, &before);
    let kinds = "daemonsets,jobs,configmaps,serviceaccounts,roles,rolebindings,runtimeclasses";
    let left = ["get", kinds, "--selector", "app.kubernetes.io/managed-by=Helm"];
    assert_eq!(release.cluster.kubectl.get(&left).unwrap()["items"], json!([]));
}

type Files = std::collections::BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

/// The host has the files that it had, and no daemon.
fn as_before(release: &Release, before: &Files) {
    let mut after = release.host.files();
    // A network's list of addresses, empty again, is the network's: it outlives every runtime.
    after.retain(|path, _| !path.starts_with(release.host.root().join("var/lib/cni/networks")));
    let keys = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&after), keys(before));
    assert!(after == *before, "a file is another than before");
    assert!(!release.host.root().join("etc/corten").exists());
    assert_eq!(release.host.pid(), 0);
}

/// `helm uninstall` while a pod runs: nothing is removed, and the release can be had back.
fn kept(release: &Release) {
    let tokio = &release.cluster.node.world.tokio;
    let config =
        pods::pod("stays", Path::new("/run/pods"), &release.cluster.node.world.isolation.cgroup_parent());
    fs::create_dir_all(release.host.root().join("run/pods/stays")).unwrap();
    let pod = tokio.block_on(async { release.cri().await.run_pod(&config).await.unwrap() });
    let daemon = release.host.pid();
    let revision = release.revision();
    // Helm 4.0 looks at the hook's failure when its time is over.
    let refused = release.try_helm(&["uninstall", "corten", "--timeout=100s"], &json!({}));
    assert!(!refused.status.success());
    let said = release.cluster.kubectl.run(&["logs", "job/corten-uninstall"]).unwrap();
    println!("$ kubectl logs job/corten-uninstall\n{said}");
    assert!(said.contains("0 of 1 node done; node1: "), "{said}");
    assert!(said.contains("pods run here by corten (1)"), "{said}");
    assert_eq!(release.host.pid(), daemon);
    release.helm(&["rollback", "corten", &revision, "--force-conflicts"], &json!({}));
    release.rolled_out();
    assert_eq!(release.host.pid(), daemon, "it was there all the time");
    tokio.block_on(async { release.cri().await.end_pod(&pod).await.unwrap() });
}

/// A node on which the checks find an error.
fn refused(release: &Release) {
    release.helm(&["install", "corten"], &json!({"config": "[runtime]\nno_such_setting = 1\n"}));
    release.told("no_such_setting");
    release.ended_with("this host is refused, and as it was, because it cannot run pods: configuration:");
    assert_eq!(release.host.asked(), [""; 0]);
}

/// Another version under a pod, which goes on; while it is there, nobody takes its runtime away.
fn upgraded(release: &Release) {
    let world = &release.cluster.node.world;
    let logs = release.host.root().join("run/pods/lives");
    fs::create_dir_all(&logs).unwrap();
    let config = pods::pod("lives", Path::new("/run/pods"), &world.isolation.cgroup_parent());
    let (pod, container, started) = world.tokio.block_on(async {
        let cri = release.cri().await;
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let container = cri.create(&pod, &shell("main", BUSYBOX, "sleep 100000"), &config).await.unwrap();
        cri.start(&container).await.unwrap();
        let status = cri.container_status(&container).await.unwrap();
        (pod, container, status.started_at)
    });
    let first = release.host.pid();
    release.helm(&["upgrade", "corten"], &json!({"image": {"repository": IMAGE, "tag": "2"}}));
    release.rolled_out();
    assert_ne!(release.host.pid(), first, "the daemon is another");
    let program = fs::read(release.host.root().join("usr/local/bin/corten")).unwrap();
    assert!(program.ends_with(b"second"));
    world.tokio.block_on(async {
        let cri = release.cri().await;
        let status = cri.container_status(&container).await.unwrap();
        assert_eq!((status.state, status.started_at), (1, started), "the container has gone on");
        assert_eq!(cri.shell(&container, "echo there").await.unwrap().trim(), "there");
    });

    release.helm(
        &["upgrade", "corten"],
        &json!({"image": {"repository": IMAGE, "tag": "2"}, "uninstall": true}),
    );
    release.told("pods run here by corten (1): drain the node");
    assert_ne!(release.host.pid(), 0, "a refused end changes nothing");
    world.tokio.block_on(async { release.cri().await.end_pod(&pod).await.unwrap() });
    let end = Instant::now() + Duration::from_secs(60);
    while Path::new("/proc").join(format!("{}", release.host.pid())).exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        if release.host.asked().iter().any(|line| line.starts_with("disable")) {
            break;
        }
    }
}
