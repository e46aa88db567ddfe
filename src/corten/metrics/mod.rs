//! Prometheus metrics: the registry, what the daemon itself feeds into it, and the endpoint that serves it.

mod config;
mod guard;
mod node;
mod operations;
mod plugins;
mod pods;
mod process;
pub(crate) mod server;

use prometheus::{IntGauge, Opts, Registry};

pub(crate) use config::ConfigMetrics;
pub(crate) use guard::read_token;
pub(crate) use node::{Node, NodeCollector};
pub(crate) use operations::OperationCollector;
pub(crate) use plugins::PluginCollector;
pub(crate) use pods::PodCollector;
use process::ProcessCollector;

/// A registry with the metrics that need nothing but a process.
///
/// # Errors
/// Two collectors of a name.
pub(crate) fn registry() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::new()?))?;
    let build =
        Opts::new("corten_build_info", "The version that runs, and of which commit it was built; always 1.")
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("commit", crate::about::COMMIT);
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}
