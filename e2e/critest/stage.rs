//! Where the suite runs: a world of its own with registry and daemon, whose pods are all gone in the end.

use crate::{Cli, standins};
use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::isolation::Isolation;
use e2e::network::{self, Network};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, command, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The daemon under test.
    pub(crate) daemon: Daemon,
    _registry: Registry,
    isolation: Isolation,
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
        if let Some(data) = &cli.data {
            put_data_on(data, &root.join("d"))?;
        }
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
        };
        let daemon = Daemon::start(&root, &options)?;
        Ok(Self { daemon, _registry: registry, isolation })
    }

    /// A directory for what the suite makes on the host: volumes, logs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn temporary(&self) -> Result<PathBuf, Error> {
        self.isolation.directory("t")
    }

    /// Removes the pods that failed specs have left; their names.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn clear(&self) -> Result<Vec<String>, Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().at("start", "tokio")?;
        runtime.block_on(async {
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

/// Puts the daemon's data on another file system than the world's tmpfs.
fn put_data_on(from: &Path, to: &Path) -> Result<(), Error> {
    let own =
        tempfile::Builder::new().prefix("critest-").tempdir_in(from).at("create a directory in", from)?;
    fs::create_dir_all(to).at("create", to)?;
    let mut mount = Command::new(tools::system("mount")?);
    command::run(mount.arg("--bind").arg(own.keep()).arg(to), Duration::from_secs(10)).map(drop)
}
