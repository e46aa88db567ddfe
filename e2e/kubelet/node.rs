//! A kubelet without an API server, on a world's daemon.

use crate::api::Api;
use e2e::error::Context;
use e2e::ground::{self, Ground};
use e2e::isolation::Isolation;
use e2e::runtime::Kind;
use e2e::world::World;
use e2e::{Error, command, registry, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The node's name; static pods have it behind theirs.
pub(crate) const NAME: &str = "node";
/// The node's address, on a bridge of the world's own.
const ADDRESS: &str = "10.89.0.1";
/// Where its cAdvisor looks for a runtime.
const CADVISOR: &str = "/run/containerd/containerd.sock";

/// What the kubelet finds on its host, made before the first look at it.
///
/// # Errors
/// When a system call fails.
pub(crate) fn prepare(isolation: &Isolation) -> Result<Ground, Error> {
    let ground = Ground::prepare(isolation)?;
    let ip = tools::system("ip")?;
    for line in [
        "link add kubelet0 type bridge".to_owned(),
        format!("address add {ADDRESS}/24 dev kubelet0"),
        "link set kubelet0 up".to_owned(),
    ] {
        command::run(Command::new(&ip).args(line.split(' ')), Duration::from_secs(5))?;
    }
    Ok(ground)
}

/// Puts what the kubelet's cAdvisor asks where it looks for it: the peer's socket, or Corten's for it.
///
/// # Errors
/// When the daemon does not come back with it.
pub(crate) fn show_to_cadvisor(world: &mut World) -> Result<(), Error> {
    let place = world.daemon.place().clone();
    let socket = match world.daemon.kind() {
        Kind::Containerd => place.socket,
        Kind::Corten => {
            let socket = place.root.join("cadvisor.sock");
            let setting = place.root.join("conf.d/kubelet.toml");
            let text = format!("[kubelet]\ncadvisor_socket = {:?}\n", socket.display().to_string());
            fs::write(&setting, text).at("write", &setting)?;
            world.daemon.kill()?;
            world.daemon.restart()?;
            socket
        }
    };
    std::os::unix::fs::symlink(&socket, CADVISOR).at("link to", &socket)
}

/// A running kubelet; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Kubelet {
    child: Child,
    manifests: PathBuf,
    /// Its API.
    pub(crate) api: Api,
}

impl Kubelet {
    /// Starts it, and waits until it says that it is healthy.
    ///
    /// # Errors
    /// When it is not built, or not healthy within a minute.
    pub(crate) fn start(world: &World, log: &Path) -> Result<Self, Error> {
        let program = tools::go_tool("kubelet", "kubelet")?;
        let root = Path::new(ground::KUBELET);
        let manifests = root.join("manifests");
        fs::create_dir_all(&manifests).at("create", &manifests)?;
        let address = registry::free_address()?;
        let file = root.join("config.json");
        let config = config(world, address, &manifests);
        fs::write(&file, config.to_string()).at("write", &file)?;
        let output = File::create(log).at("create", log)?;
        let errors = output.try_clone().at("duplicate", log)?;
        let certificates = root.join("pki");
        let child = Command::new(&program)
            .arg("--config")
            .arg(&file)
            .arg("--root-dir")
            .arg(root)
            .arg("--cert-dir")
            .arg(&certificates)
            .args(["--hostname-override", NAME, "--node-ip", ADDRESS])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .at("start", &program)?;
        let certificate = certificates.join("kubelet.crt");
        let (child, api) = wait_until_healthy(child, address, &certificate)?;
        Ok(Self { child, manifests, api })
    }

    /// Adds a static pod, or replaces it.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(crate) fn add(&self, name: &str, pod: &Value) -> Result<(), Error> {
        let path = self.manifests.join(format!("{name}.json"));
        fs::write(&path, pod.to_string()).at("write", &path)
    }

    /// Removes a static pod.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.manifests.join(format!("{name}.json"));
        fs::remove_file(&path).at("remove", &path)
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// When it is still there after 30 s.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        let after = Duration::from_secs(30);
        // It fails only for a process that is gone.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        match command::wait(&mut self.child, after) {
            Some(_) => Ok(()),
            None => Err(Error::Late { what: "the kubelet's end", after, last: String::new() }),
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until_healthy(
    mut child: Child,
    address: SocketAddr,
    certificate: &Path,
) -> Result<(Child, Api), Error> {
    let after = Duration::from_secs(60);
    let end = Instant::now() + after;
    let mut last = String::new();
    while Instant::now() < end && child.try_wait().is_ok_and(|status| status.is_none()) {
        if certificate.exists() {
            let api = Api::new(address, NAME, certificate)?;
            match api.get("/healthz") {
                Ok(text) if text.trim() == "ok" => return Ok((child, api)),
                Ok(text) => last = text,
                Err(error) => last = error.to_string(),
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Both fail only when it is gone already.
    let _ = child.kill();
    let _ = child.wait();
    Err(Error::Late { what: "the kubelet's health", after, last })
}

/// A small node: no API server, no swap, no limits that a busy machine would reach.
fn config(world: &World, address: SocketAddr, manifests: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address.ip(), "port": address.port(), "readOnlyPort": 0, "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", world.daemon.place().socket.display()),
        "staticPodPath": manifests, "fileCheckFrequency": "1s", "syncFrequency": "5s",
        "podLogsDir": world.logs, "volumePluginDir": manifests.with_file_name("plugins-by-exec"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": world.isolation.cgroup_parent(), "enforceNodeAllocatable": [],
        "failCgroupV1": false, "failSwapOn": false, "makeIPTablesUtilChains": false, "resolvConf": "",
        "evictionHard": {"memory.available": "10Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "serializeImagePulls": false,
    })
}
