//! All that most scenarios need, in one value: isolation, registry with busybox, daemon, crictl.

use crate::baseline::Snapshot;
use crate::client::Cri;
use crate::crictl::Crictl;
use crate::error::{Context, Error};
use crate::isolation::Isolation;
use crate::network::{self, Network};
use crate::proto::{ContainerState, ContainerStatus, PodSandboxConfig};
use crate::registry::Registry;
use crate::runtime::{Daemon, Kind, Options};
use crate::{image, peer, pods, tools};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The busybox image that every world has.
pub const BUSYBOX: &str = "registry.test/busybox:1";

/// A scenario's world. The fields are dropped in this order: the daemon before what it stands on.
#[derive(Debug)]
pub struct World {
    /// The daemon under test.
    pub daemon: Daemon,
    /// The registry that stands in for all others.
    pub registry: Registry,
    /// Threads that live inside the isolation.
    pub tokio: Runtime,
    /// The namespaces.
    pub isolation: Isolation,
    /// The directory of the pods' logs.
    pub logs: PathBuf,
}

impl World {
    /// A world on the runtime that the environment names, with a bridge network; `None`, with the reason printed,
    /// when this process may not make one.
    ///
    /// # Errors
    /// When something is missing or does not start.
    pub fn new() -> Result<Option<Self>, Error> {
        Self::with(|options| options)
    }

    /// A world with other options.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn with(change: impl FnOnce(Options) -> Options) -> Result<Option<Self>, Error> {
        if !need::root("namespaces and mounts need root") {
            return Ok(None);
        }
        let isolation = Isolation::enter()?;
        let registry = Registry::start(&isolation.directory("registry")?)?;
        registry.push("busybox", "1", &image::busybox()?)?;
        let options = change(Options {
            kind: Kind::from_environment(),
            network: Network::List(network::bridge("1.0.0", "cte0", "10.88.0.0/16", isolation.root())),
            mirror: Some(registry.address()),
            metrics: None,
            extra: String::new(),
            programs: tools::dist(),
        });
        if options.kind == Kind::Containerd {
            registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &pause_image()?)?;
        }
        let logs = isolation.directory("logs")?;
        let daemon = Daemon::start(&isolation.directory("r")?, &options)?;
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .at("start", "tokio")?;
        Ok(Some(Self { daemon, registry, tokio, isolation, logs }))
    }

    /// A pod's configuration in this world; its log directory is made, as the kubelet does.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn pod(&self, name: &str) -> Result<PodSandboxConfig, Error> {
        let config = pods::pod(name, &self.logs, &self.isolation.cgroup_parent());
        fs::create_dir_all(&config.log_directory).at("create", &config.log_directory)?;
        Ok(config)
    }

    /// The log file of a container.
    pub fn log(&self, pod: &str, container: &str) -> PathBuf {
        self.logs.join(pod).join(format!("{container}.log"))
    }

    /// crictl for this world's daemon.
    ///
    /// # Errors
    /// When it was not built.
    pub fn crictl(&self) -> Result<Crictl, Error> {
        Crictl::new(&self.daemon.place().socket)
    }

    /// Pulls busybox and runs one pod from beginning to end, so that what stays for ever (a bridge, base chains)
    /// is there; then takes the baseline.
    ///
    /// # Errors
    /// The runtime's.
    pub fn baseline(&self) -> Result<Snapshot, Error> {
        self.tokio.block_on(async {
            let cri = self.daemon.client().await?;
            cri.pull(BUSYBOX, None).await?;
            let config = pods::with_host_port(self.pod("warm-up")?, 39_999, 80);
            let pod = cri.run_pod(&config).await?;
            let container = cri.create(&pod, &pods::shell("main", BUSYBOX, "exit 0"), &config).await?;
            cri.start(&container).await?;
            wait_exited(&cri, &container, Duration::from_secs(60)).await?;
            cri.end_pod(&pod).await
        })?;
        Snapshot::take_at_rest(&self.isolation, &self.daemon)
    }
}

/// The image of the peer's pause: Corten's own, which is the lightest, or busybox where that is not built.
///
/// # Errors
/// When neither can be read.
pub fn pause_image() -> Result<image::Image, Error> {
    if let Ok(pause) = tools::corten("corten-pause") {
        return image::single_program(&pause, "pause");
    }
    let mut image = image::busybox()?;
    image.config = serde_json::json!({"Entrypoint": ["/bin/sleep", "1000000"]});
    Ok(image)
}

/// Waits until a container has exited; its status then.
///
/// # Errors
/// The runtime's, or when it has not exited in time.
pub async fn wait_exited(cri: &Cri, id: &str, after: Duration) -> Result<ContainerStatus, Error> {
    let end = Instant::now() + after;
    loop {
        let status = cri.container_status(id).await?;
        if status.state() == ContainerState::ContainerExited {
            return Ok(status);
        }
        if Instant::now() > end {
            let last = format!("{:?}", status.state());
            return Err(Error::Late { what: "the container's exit", after, last });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
