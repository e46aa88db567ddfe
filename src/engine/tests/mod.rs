//! The engine on a host of its own that takes no root: supervisors in memory ([`FakeNode`]), a network in memory, cgroups
//! that are plain directories, a host that mounts nothing ([`FakeHost`]). What [`World::kill`] ends, ends as a daemon that is killed:
//! each task where it waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod classes;
mod containers;
mod damage;
mod explain;
mod figures;
mod half_made;
mod host;
mod inhabitants;
mod irregular;
mod live;
mod orders;
mod parents;
mod plugins;
mod pods;
mod recover;
mod removal;
mod requests;
mod runtimes;
mod settings;
mod stats;
mod streams;
mod views;

use crate::supervisor::fake::FakeNode;
use crate::{Engine, EngineError, Paths, Seams, Settings, Stores};
use host::FakeHost;
use model::{ContainerConfig, ContainerMetadata, ImageSpec, NamespaceMode, SandboxConfig, SandboxMetadata};
use prometheus::Registry;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The image that every world has.
pub(crate) const IMAGE: &str = "test.local/image:1";

/// A node with one engine.
pub(crate) struct World {
    dir: TempDir,
    /// Its supervisors.
    pub(crate) node: FakeNode,
    /// What else takes root.
    pub(crate) host: FakeHost,
    /// Its network.
    pub(crate) network: net::FakeHost,
    /// Those of the next engine.
    pub(crate) settings: Settings,
    /// Both are there but while a daemon is dead.
    daemon: Option<(Runtime, Arc<Engine>)>,
}

impl World {
    /// A node with a running daemon, and [`IMAGE`].
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// The same with settings of its own; the path is the world's directory.
    pub(crate) fn with(change: impl FnOnce(&mut Settings, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["state", "data", "netns", "cgroup", "network"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let program = std::env::current_exe().unwrap();
        let mut settings = Settings {
            shim: program.clone(),
            pause: program,
            netns_dir: dir.path().join("netns"),
            cgroup_driver: crate::CgroupDriver::Cgroupfs,
            cdi_spec_dirs: Vec::new(),
            default_sysctls: std::collections::BTreeMap::new(),
            kill_timeout_seconds: 1,
            nri: crate::NriSettings { enable: false, ..crate::NriSettings::default() },
            ..Settings::default()
        };
        change(&mut settings, dir.path());
        let mut world = Self {
            dir,
            node: FakeNode::default(),
            host: FakeHost::default(),
            network: net::FakeHost::default(),
            settings,
            daemon: None,
        };
        world.start();
        world.load(IMAGE, &serde_json::json!({}));
        world
    }

    /// Gives it an image whose containers run as told.
    pub(crate) fn load(&self, name: &str, run: &serde_json::Value) {
        let archive = Box::new(std::io::Cursor::new(archive(name, run)));
        self.on(self.engine().core.images.load(archive, Some(name))).unwrap();
    }

    /// Starts a daemon where none is.
    pub(crate) fn start(&mut self) {
        self.try_start().unwrap();
    }

    /// The same, for one that may fail.
    pub(crate) fn try_start(&mut self) -> Result<(), EngineError> {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let engine = runtime.block_on(self.open())?;
        self.daemon = Some((runtime, engine));
        Ok(())
    }

    async fn open(&self) -> Result<Arc<Engine>, EngineError> {
        let metrics = Registry::new();
        let (state, data) = (self.path("state"), self.path("data"));
        let images = image::ImageConfig { root: data.join("images"), ..Default::default() };
        let stores = Stores {
            images: image::ImageStore::open(images, &metrics)?,
            network: net::Network::fake(&self.path("network"), &self.network)?,
        };
        let seams = Seams {
            launcher: Arc::new(self.node.clone()),
            host: Arc::new(self.host.clone()),
            cgroups: cgroups(&self.path("cgroup")),
            awake: crate::awake::Awake::default(),
        };
        let engine =
            Engine::open_on(seams, self.settings.clone(), Paths { state, data }, stores, &metrics).await?;
        engine.serve_plugins();
        Ok(engine)
    }

    /// Ends the daemon as SIGKILL does: nothing is waited for. Supervisors live on.
    pub(crate) fn kill(&mut self) {
        let (runtime, engine) = self.daemon.take().unwrap();
        let gone = Arc::downgrade(&engine.core);
        drop(engine);
        runtime.shutdown_timeout(Duration::from_secs(10));
        let until = Instant::now() + Duration::from_secs(10);
        while gone.strong_count() > 0 {
            assert!(Instant::now() < until, "something holds a dead engine");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills the daemon and starts another.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// The machine goes down and comes up again, and a daemon starts.
    pub(crate) fn reboot(&mut self) {
        self.kill();
        self.node.reboot();
        self.host.reboot();
        for name in ["state", "netns", "cgroup"] {
            std::fs::remove_dir_all(self.path(name)).unwrap();
            std::fs::create_dir(self.path(name)).unwrap();
        }
        let _ = std::fs::remove_dir_all(self.path("network/network-state"));
        self.start();
    }

    /// Below the world's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The engine of the running daemon.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.daemon.as_ref().unwrap().1.clone()
    }

    /// Runs something to its end within the daemon.
    pub(crate) fn on<T>(&self, work: impl Future<Output = T>) -> T {
        self.daemon.as_ref().unwrap().0.block_on(work)
    }

    /// Lets something run within the daemon, side by side with what follows.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.daemon.as_ref().unwrap().0.spawn(work)
    }

    /// Makes a pod; its id.
    pub(crate) fn pod(&self, name: &str) -> String {
        self.try_pod(name).unwrap()
    }

    /// Makes a pod; its id.
    pub(crate) fn try_pod(&self, name: &str) -> Result<String, EngineError> {
        let made = self.on(self.engine().pods().run_pod(pod(name), String::new()));
        made.map(|id| id.as_str().to_owned())
    }

    /// Makes a container; its id.
    pub(crate) fn container(&self, pod: &str, name: &str) -> String {
        self.try_container(pod, name).unwrap()
    }

    /// Makes a container; its id.
    pub(crate) fn try_container(&self, pod: &str, name: &str) -> Result<String, EngineError> {
        let made = self.on(self.engine().containers().create_container(pod, container(name), None));
        made.map(|id| id.as_str().to_owned())
    }

    /// Makes a container that runs; its id.
    pub(crate) fn running(&self, pod: &str, name: &str) -> String {
        let id = self.container(pod, name);
        self.on(self.engine().containers().start_container(&id)).unwrap();
        // Its record follows the answer.
        let record = self.path(&format!("state/pods/{pod}/containers/{id}.json"));
        self.until("the start is on record", || {
            std::fs::read_to_string(&record).is_ok_and(|text| text.contains("started_at"))
        });
        id
    }

    /// The name of a container's state.
    pub(crate) fn state(&self, container: &str) -> String {
        match self.engine().containers().container_status(container) {
            Ok(view) => view.state.name().to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }

    /// Waits for a container to be in a state.
    pub(crate) fn await_state(&self, container: &str, state: &str) {
        self.until(&format!("{container} is {state}"), || self.state(container) == state);
    }

    /// Waits for something to be so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < until, "it never came to be that {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What is left of pods and containers on the host, to be compared with nothing.
    pub(crate) fn left(&self) -> Vec<String> {
        let names = |dir: PathBuf| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().display().to_string())
        };
        let mut left: Vec<String> = self.node.living();
        left.extend(self.node.containers().into_keys());
        left.extend(self.host.left());
        left.extend(self.network.attached().into_keys().map(|id| format!("the attachment of {id}")));
        for dir in ["state/pods", "data/containers", "netns"] {
            let own = names(self.path(dir)).filter(|name| !name.contains(crate::room::REMOVED));
            left.extend(own);
        }
        left.extend(directories(&self.path("cgroup")));
        if let Some((_, engine)) = &self.daemon {
            // Whose names are free last.
            left.extend(engine.core.registry.pods().iter().map(|pod| format!("pod {}", pod.id)));
        }
        left
    }

    /// Waits until nothing is left.
    pub(crate) fn nothing_left(&self) {
        let mut left = Vec::new();
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            left = self.left();
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("left behind: {left:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((runtime, engine)) = self.daemon.take() {
            drop(engine);
            runtime.shutdown_background();
        }
    }
}

/// A pod on the host's network.
pub(crate) fn pod(name: &str) -> SandboxConfig {
    let mut config = networked(name);
    config.linux.security.namespaces.network = NamespaceMode::Node;
    config
}

/// A pod with a network of its own.
pub(crate) fn networked(name: &str) -> SandboxConfig {
    let metadata = SandboxMetadata {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        namespace: "test".to_owned(),
        attempt: 0,
    };
    SandboxConfig { metadata, ..SandboxConfig::default() }
}

/// A container of [`IMAGE`].
pub(crate) fn container(name: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: name.to_owned(), attempt: 0 },
        image: ImageSpec { image: IMAGE.to_owned(), ..ImageSpec::default() },
        command: vec!["/bin/true".to_owned()],
        ..ContainerConfig::default()
    }
}

/// Cgroups that are directories. The controllers are there by name and limit nothing.
fn cgroups(root: &Path) -> oci::cgroup::Host {
    let mount =
        format!("30 25 0:26 / {} rw - cgroup cgroup rw,cpu,cpuacct,blkio,memory,pids\n", root.display());
    oci::cgroup::Host::from_proc(&mount, "1:cpu,cpuacct,blkio,memory,pids:/elsewhere\n").unwrap()
}

fn directories(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| {
            let mut all = directories(&entry.path());
            all.push(entry.path().display().to_string());
            all
        })
        .collect()
}

/// An image of one layer with one file, of its own, as an archive.
fn archive(name: &str, run: &serde_json::Value) -> Vec<u8> {
    use serde_json::{Value, json};
    let mut tar = tar::Builder::new(Vec::new());
    let mut blob = |bytes: &[u8]| {
        let digest = image::Digest::of(bytes);
        add(&mut tar, &format!("blobs/sha256/{}", digest.hex()), bytes);
        digest
    };
    let mut layer = tar::Builder::new(Vec::new());
    add(&mut layer, "motd", name.as_bytes());
    let layer = layer.into_inner().unwrap();
    let diff_id = blob(&layer);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": run,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}
    });
    let mut document = |kind: &str, document: &Value| {
        let bytes = document.to_string();
        json!({"mediaType": kind, "digest": blob(bytes.as_bytes()), "size": bytes.len()})
    };
    let config = document("application/vnd.oci.image.config.v1+json", &config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len()}
        ]
    });
    let manifest = document("application/vnd.oci.image.manifest.v1+json", &manifest);
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    add(&mut tar, "index.json", index.as_bytes());
    tar.into_inner().unwrap()
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(u64::from(rustix::process::getuid().as_raw()));
    header.set_gid(u64::from(rustix::process::getgid().as_raw()));
    tar.append_data(&mut header, path, content).unwrap();
}

/// A program without arguments.
fn command(program: &str) -> model::Argv {
    model::Argv::new(vec![program.to_owned()]).unwrap()
}
