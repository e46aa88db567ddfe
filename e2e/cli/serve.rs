//! A daemon on the host itself for a person to play with, until ^C.

use e2e::crictl::Crictl;
use e2e::error::Context;
use e2e::network::{self, Network};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, command, image, isolation, tools};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const BRIDGE: &str = "corten-serve";

/// `make serve`.
///
/// # Errors
/// When something is missing or does not start.
pub(crate) fn serve() -> Result<(), Error> {
    let directory = tempfile::Builder::new()
        .prefix("corten-")
        .rand_bytes(4)
        .tempdir_in("/run")
        .at("create", "/run/corten-*")?;
    let root = directory.path();
    let tables = nft_tables()?;
    let outcome = serve_in(root);
    clean(root, &tables);
    outcome
}

fn serve_in(root: &Path) -> Result<(), Error> {
    let registry = Registry::start(&root.join("registry"))?;
    registry.push("library/busybox", "latest", &image::busybox()?)?;
    let options = Options {
        kind: Kind::Corten,
        network: Network::List(network::bridge("1.0.0", BRIDGE, "10.87.0.0/16", root)),
        mirror: Some(registry.address()),
        metrics: None,
        extra: format!("[runtime]\ncgroup_parent = \"{}\"\n", cgroup_parent(root)),
        programs: e2e::tools::dist(),
    };
    let mut daemon = Daemon::start(root, &options)?;
    let crictl = Crictl::new(&daemon.place().socket)?;
    let files = write_examples(root)?;
    println!(
        "Corten serves on {}; its log is {}.",
        daemon.place().socket.display(),
        daemon.place().log.display()
    );
    println!("Every image comes from docker-registry at {}, which has busybox.\n", registry.address());
    println!("crictl=\"{}\"", crictl.line());
    println!("$crictl pull busybox && $crictl run {files}");
    println!("$crictl ps\n\nPress ^C to end it and to remove every pod.");
    wait_for_the_end(&mut daemon)
}

fn wait_for_the_end(daemon: &mut Daemon) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .at("start", "tokio")?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).at("wait for", "signals");
        let (mut interrupt, mut terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok(())
    })?;
    println!("\nRemoving pods.");
    // ^C reaches the daemon too; a new one takes the pods over, which is what it is good at.
    daemon.stop()?;
    daemon.restart()?;
    runtime.block_on(async {
        let cri = daemon.client().await?;
        for pod in cri.pods().await? {
            cri.end_pod(&pod.id).await?;
        }
        Ok::<_, Error>(())
    })?;
    daemon.stop().map(drop)
}

/// Takes away what a network leaves on purpose: its bridge, and the tables that were not there before.
fn clean(root: &Path, before: &BTreeSet<String>) {
    let quietly = |program: &str, arguments: &[&str]| {
        if let Ok(program) = tools::system(program) {
            // What is not there need not go.
            let _ = command::finish(Command::new(program).args(arguments), Duration::from_secs(5));
        }
    };
    quietly("ip", &["link", "delete", BRIDGE]);
    for table in nft_tables().unwrap_or_default().difference(before) {
        let words: Vec<_> = ["delete"].into_iter().chain(table.split(' ')).collect();
        quietly("nft", &words);
    }
    for directory in isolation::cgroup_directories(&cgroup_parent(root)) {
        let _ = fs::remove_dir(directory);
    }
}

fn cgroup_parent(root: &Path) -> String {
    format!("/{}", root.file_name().unwrap_or_default().to_string_lossy())
}

fn nft_tables() -> Result<BTreeSet<String>, Error> {
    let mut nft = Command::new(tools::system("nft")?);
    let text = command::run(nft.args(["list", "tables"]), Duration::from_secs(5))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn write_examples(root: &Path) -> Result<String, Error> {
    let logs = root.join("logs");
    fs::create_dir_all(&logs).at("create", &logs)?;
    let options = json!({"namespace_options": {"pid": 1}});
    let pod = json!({
        "metadata": {"name": "example", "namespace": "default", "uid": "example-1", "attempt": 0},
        "hostname": "example", "log_directory": logs,
        "linux": {"cgroup_parent": cgroup_parent(root), "security_context": options},
    });
    let container = json!({
        "metadata": {"name": "main", "attempt": 0}, "image": {"image": "busybox"}, "log_path": "main.log",
        "labels": {"io.kubernetes.pod.name": "example", "io.kubernetes.pod.namespace": "default"},
        "command": ["/bin/sh", "-c", "echo hello; exec sleep 1000000"], "linux": {"security_context": options},
    });
    let (pod_file, container_file) = (root.join("pod.json"), root.join("container.json"));
    fs::write(&pod_file, pod.to_string()).at("write", &pod_file)?;
    fs::write(&container_file, container.to_string()).at("write", &container_file)?;
    Ok(format!("{} {}", container_file.display(), pod_file.display()))
}
