//! `make cluster`: a whole cluster for a person to play with, in the background until `make cluster-down`.

use e2e::cluster::{AGNHOST, Cluster, Options};
use e2e::error::Context;
use e2e::runtime::Kind;
use e2e::world::BUSYBOX;
use e2e::{Error, command, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The host's end of the way into the cluster's network.
pub(crate) const LINK: &str = "corten-cluster";
/// In the environment of everything that the cluster consists of.
pub(crate) const MARK: &str = "CORTEN_CLUSTER";
/// The addresses of its two ends.
const ENDS: [&str; 2] = ["10.213.1.1", "10.213.1.2"];
/// The networks that lie behind it: nodes, pods, Services.
const BEHIND: [&str; 3] = ["10.213.0.0/24", "10.214.0.0/16", "10.215.0.0/16"];

/// Where everything lies that a person needs.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from("/run/corten-cluster")
}

/// `make cluster`: starts the process that holds the cluster, waits for it, and says how to go on.
///
/// # Errors
/// When there is a cluster already, or it does not come up.
pub(crate) fn up() -> Result<(), Error> {
    let directory = directory();
    if directory.join("pid").exists() {
        let request = "make cluster".to_owned();
        return Err(Error::Refused {
            request,
            reply: "there is one; `make cluster-down` ends it".to_owned(),
        });
    }
    fs::create_dir_all(&directory).at("create", &directory)?;
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).at("protect", &directory)?;
    let mut holder = launch(&directory)?;
    let outcome = wait(&mut holder, &directory).and_then(|ready| connect(&holder).map(|()| ready));
    match outcome {
        Ok(ready) => {
            explain(&directory, &ready);
            Ok(())
        }
        Err(error) => {
            super::cluster_down::down()?;
            Err(error)
        }
    }
}

/// `e2e cluster-hold`: brings the cluster up and keeps it until SIGTERM.
///
/// # Errors
/// When it does not come up.
pub(crate) fn hold() -> Result<(), Error> {
    let directory = directory();
    let nodes = std::env::var("NODES").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let options = Options { nodes, ..Options::new("make") };
    let Some(cluster) = Cluster::start(&options)? else { return Ok(()) };
    let config = directory.join("kubeconfig");
    fs::copy(cluster.kubectl.config(), &config).at("write", &config)?;
    let ready = directory.join("ready");
    let runtime = match cluster.node.world.daemon.kind() {
        Kind::Corten => "Corten",
        Kind::Containerd => "containerd",
    };
    let text = format!(
        "{nodes} {} on {runtime}, ready after {:.1} s",
        if nodes == 1 { "node" } else { "nodes" },
        cluster.ready_after.as_secs_f64()
    );
    fs::write(&ready, text).at("write", &ready)?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().at("start", "tokio")?;
    tokio.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).at("wait for", "signals")?;
        terminate.recv().await;
        Ok::<_, Error>(())
    })?;
    drop(cluster);
    Ok(())
}

fn launch(directory: &Path) -> Result<Child, Error> {
    let own = std::env::current_exe().at("find", "this program")?;
    let log = directory.join("log");
    let output = File::create(&log).at("create", &log)?;
    let errors = output.try_clone().at("duplicate", &log)?;
    let mut command = Command::new(&own);
    // ^C in the terminal is not meant for it.
    command
        .arg("cluster-hold")
        .env(MARK, "1")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let holder = command.spawn().at("start", &own)?;
    let pid = directory.join("pid");
    fs::write(&pid, holder.id().to_string()).at("write", &pid)?;
    Ok(holder)
}

fn wait(holder: &mut Child, directory: &Path) -> Result<String, Error> {
    let after = Duration::from_secs(300);
    let end = Instant::now() + after;
    let ready = directory.join("ready");
    loop {
        if let Ok(text) = fs::read_to_string(&ready)
            && !text.is_empty()
        {
            return Ok(text);
        }
        let ended = holder.try_wait().at("wait for", "the cluster")?;
        if ended.is_some() || Instant::now() > end {
            let last = fs::read_to_string(directory.join("log")).unwrap_or_default();
            return Err(Error::Late { what: "the cluster's start", after, last });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A link from the host into the cluster's network, which ends with either.
fn connect(holder: &Child) -> Result<(), Error> {
    let pid = holder.id();
    let [outer, inner] = ENDS;
    let here = |line: &str| run("ip", line);
    let there = |line: &str| run("nsenter", &format!("--target {pid} --net ip {line}"));
    here(&format!("link add {LINK} type veth peer name host0 netns {pid}"))?;
    here(&format!("address add {outer}/30 dev {LINK}"))?;
    here(&format!("link set {LINK} up"))?;
    there(&format!("address add {inner}/30 dev host0"))?;
    there("link set host0 up")?;
    BEHIND.iter().try_for_each(|network| here(&format!("route add {network} via {inner}")))
}

fn run(program: &str, line: &str) -> Result<(), Error> {
    let mut command = Command::new(tools::system(program)?);
    command::run(command.args(line.split(' ')), Duration::from_secs(10)).map(drop)
}

fn explain(directory: &Path, ready: &str) {
    println!("cluster: {ready}");
    println!("\nexport KUBECONFIG={}/kubeconfig", directory.display());
    println!("export PATH={}:$PATH", tools::repository().join(".cache/tools").display());
    println!("kubectl get nodes\n\nIts registry has {BUSYBOX} and {AGNHOST}; there is no way to others.");
    println!(
        "Pods and Services answer from this host. Logs: target/cluster/make. `make cluster-down` ends it."
    );
}

/// Whether a process is one that holds a cluster.
pub(crate) fn holds(pid: i32) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).any(|word| word == b"cluster-hold")
}

/// Asks a process to end; `false` when it is still there after a minute.
pub(crate) fn end(pid: i32) -> bool {
    // It fails only for a process that is gone.
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let end = Instant::now() + Duration::from_secs(60);
    while holds(pid) {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
