//! Where the suite runs: a world of its own with registry and daemon, whose pods are all gone in the end.

use crate::{Cli, standins};
use e2e::baseline::Snapshot;
use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::isolation::Isolation;
use e2e::network::{self, Network};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, command, pods, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The daemon under test.
    pub(crate) daemon: Daemon,
    _registry: Registry,
    isolation: Isolation,
    _data: Option<TempDir>,
}

impl Stage {
    /// Starts everything.
    ///
    /// # Errors
    /// When something is missing or does not start.
    pub(crate) fn set(cli: &Cli, kind: Kind) -> Result<Self, Error> {
        let isolation = Isolation::enter()?;
        end_on_signals(isolation.sweeper(), Duration::from_secs(cli.limit + 120))?;
        let place = isolation.directory("registry")?;
        let registry = match &cli.images {
            Some(images) => Registry::start_read_only(&place, images)?,
            None => {
                let registry = Registry::start(&place)?;
                standins::push(&registry)?;
                registry
            }
        };
        let root = isolation.directory("r")?;
        let data = cli.data.as_deref().map(|data| put_data_on(data, &root.join("d"))).transpose()?;
        let mut extra = format!("[runtime]\ncgroup_parent = \"{}\"\n", isolation.cgroup_parent());
        if let Some(path) = &cli.daemon_config {
            extra.push_str(&fs::read_to_string(path).at("read", path)?);
        }
        let options = Options {
            kind,
            network: Network::List(network::bridge("1.0.0", "cte0", "10.88.0.0/16", isolation.root())),
            mirror: Some(registry.address()),
            metrics: None,
            extra,
            programs: e2e::tools::dist(),
        };
        if kind == Kind::Corten {
            allow_for_slowness(&root, cli.service_timeout)?;
        }
        let daemon = Daemon::start(&root, &options)?;
        Ok(Self { daemon, _registry: registry, isolation, _data: data })
    }

    /// A directory for what the suite makes on the host: volumes, logs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn temporary(&self) -> Result<PathBuf, Error> {
        self.isolation.directory("t")
    }

    /// Runs one pod from beginning to end, so that what stays for ever (a bridge, base chains) is there; then looks
    /// at the host.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn baseline(&self) -> Result<Snapshot, Error> {
        let logs = self.isolation.directory("logs")?;
        let config = pods::pod("warm-up", &logs, &self.isolation.cgroup_parent());
        fs::create_dir_all(&config.log_directory).at("create", &config.log_directory)?;
        let config = pods::with_host_port(config, 39_999, 80);
        runtime()?.block_on(async {
            let cri = self.daemon.client().await?;
            cri.pull(standins::BUSYBOX, None).await?;
            let pod = cri.run_pod(&config).await?;
            let sleep = pods::shell("main", standins::BUSYBOX, "exec sleep 1000000");
            let container = cri.create(&pod, &sleep, &config).await?;
            cri.start(&container).await?;
            cri.end_pod(&pod).await
        })?;
        Snapshot::take_at_rest(&self.isolation, &self.daemon)
    }

    /// Waits until the host is as it was, but for what the suite itself has made.
    ///
    /// # Errors
    /// When it is not after a while; the difference.
    pub(crate) fn settle(&self, baseline: &Snapshot) -> Result<(), Error> {
        let temporary = self.temporary()?;
        fs::remove_dir_all(&temporary).at("remove", &temporary)?;
        baseline.settle(&self.isolation, &self.daemon)
    }

    /// Removes the pods that failed specs have left; their names.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn clear(&self) -> Result<Vec<String>, Error> {
        runtime()?.block_on(async {
            let cri = self.daemon.client().await?;
            let mut left = Vec::new();
            for pod in cri.pods().await? {
                cri.end_pod(&pod.id).await?;
                left.push(pod.metadata.unwrap_or_default().name);
            }
            Ok(left)
        })
    }
}

/// Lets pulls wait for the registry as long as the suite waits for the daemon, where that is longer than usual.
fn allow_for_slowness(root: &Path, seconds: u64) -> Result<(), Error> {
    if seconds <= crate::SERVICE_TIMEOUT {
        return Ok(());
    }
    let directory = root.join("conf.d");
    fs::create_dir_all(&directory).at("create", &directory)?;
    let path = directory.join("slow.toml");
    fs::write(&path, format!("[images]\nprogress_timeout_seconds = {seconds}\n")).at("write", &path)
}

fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().at("start", "tokio")
}

/// Puts the daemon's data on another file system than the world's tmpfs, and `/var/lib` too: that is where the suite
/// looks whether root file systems can be mounted with mapped owners.
fn put_data_on(from: &Path, to: &Path) -> Result<TempDir, Error> {
    let own =
        tempfile::Builder::new().prefix("critest-").tempdir_in(from).at("create a directory in", from)?;
    fs::create_dir_all(to).at("create", to)?;
    for (name, target) in [("data", to), ("lib", Path::new("/var/lib"))] {
        let source = own.path().join(name);
        fs::create_dir(&source).at("create", &source)?;
        let mut mount = Command::new(tools::system("mount")?);
        command::run(mount.arg("--bind").arg(&source).arg(target), Duration::from_secs(60))?;
    }
    Ok(own)
}
