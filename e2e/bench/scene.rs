//! What every measurement begins with.

use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::isolation::Isolation;
use e2e::network::{self, Network};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::{Error, image, tools};
use std::path::PathBuf;
use std::time::Duration;

/// Namespaces of its own, a registry with busybox, and a runtime for clients. What is first ends first.
pub(crate) struct Scene {
    pub(crate) tokio: tokio::runtime::Runtime,
    pub(crate) registry: Registry,
    pub(crate) isolation: Isolation,
}

impl Scene {
    /// It is swept away on signals, and past the limit.
    ///
    /// # Errors
    /// When something is missing.
    pub(crate) fn set(limit: Duration) -> Result<Self, Error> {
        let isolation = Isolation::enter()?;
        end_on_signals(isolation.sweeper(), limit)?;
        let registry = Registry::start(&isolation.directory("registry")?)?;
        registry.push("busybox", "1", &image::busybox()?)?;
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .at("start", "tokio")?;
        Ok(Self { tokio, registry, isolation })
    }

    /// The options of a daemon of Corten whose programs lie there, with a bridge and addresses of its own.
    pub(crate) fn options(&self, number: usize, programs: PathBuf) -> Options {
        let (bridge, subnet) = (format!("ctb{number}"), format!("10.{}.0.0/16", 90 + number));
        Options {
            kind: Kind::Corten,
            network: Network::List(network::bridge("1.0.0", &bridge, &subnet, self.isolation.root())),
            mirror: Some(self.registry.address()),
            metrics: None,
            extra: String::new(),
            programs,
        }
    }

    /// A daemon of this build with nothing beside it.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn daemon(&self) -> Result<Daemon, Error> {
        Daemon::start(&self.isolation.directory("a")?, &self.options(0, tools::dist()))
    }
}
