//! A whole cluster in namespaces of its own: etcd, the control plane, CoreDNS and kube-proxy of Kubernetes itself, and
//! nodes with the real kubelet on the runtime under test.
//!
//! The first node lives in the isolation of the thread that starts the cluster, beside the control plane. Each other
//! one has an isolation, a runtime and a pod network of its own, on a thread of its own, and a link to the first.

mod address;
mod component;
mod control;
mod credentials;
mod dns;
mod images;
mod kubectl;
mod kubelet;
mod link;
mod logind;
mod metrics;
mod node;
mod other;
mod proxy;

pub use component::Component;
pub use images::{AGNHOST, PAUSE};
pub use kubectl::{Kubectl, condition};
pub use logind::Logind;
pub use node::{Node, name};

use crate::cluster::control::Control;
use crate::cluster::credentials::Credentials;
use crate::cluster::other::Other;
use crate::error::{Context, Error};
use crate::isolation::Sweeper;
use crate::registry::Registry;
use crate::runtime::Kind;
use crate::tools;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is done on a node before its pods come, with the registry that its images come from.
pub type Furnish = fn(&Registry) -> Result<(), Error>;

/// What a cluster may differ in.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which runtime the nodes have.
    pub kind: Kind,
    /// How many nodes: 1 to 8.
    pub nodes: u8,
    /// Where the components log to.
    pub logs: PathBuf,
    /// More for the kubelets' configuration: keys of its top level.
    pub kubelet: serde_json::Value,
    /// The address of the bus on which the kubelet looks for logind.
    pub bus: Option<String>,
    /// More lines for Corten's configuration.
    pub runtime: String,
    /// Whether CoreDNS is wanted.
    pub dns: bool,
    /// What is done on each node, on its thread.
    pub furnish: Option<Furnish>,
}

impl Options {
    /// One node on the runtime that the environment names, with logs below `target/cluster` under a name.
    pub fn new(name: &str) -> Self {
        Self {
            kind: Kind::from_environment(),
            nodes: 1,
            logs: tools::repository().join("target/cluster").join(name),
            kubelet: serde_json::Value::Null,
            bus: None,
            runtime: String::new(),
            dns: true,
            furnish: None,
        }
    }
}

/// A running cluster. The fields are dropped in this order: nodes before what they talk to.
#[derive(Debug)]
pub struct Cluster {
    /// The other nodes.
    others: Vec<Other>,
    /// The control plane.
    pub control: Control,
    /// The client.
    pub kubectl: Kubectl,
    /// The first node.
    pub node: Node,
    credentials: Credentials,
    logs: PathBuf,
    /// How long it took until every node was ready.
    pub ready_after: Duration,
}

impl Cluster {
    /// Starts one; returns when every node is ready. `None`, with the reason printed, where this process may not.
    ///
    /// # Errors
    /// When something is missing, or does not start.
    pub fn start(options: &Options) -> Result<Option<Self>, Error> {
        if !need::root("namespaces and mounts need root") {
            return Ok(None);
        }
        let begin = Instant::now();
        if options.logs.exists() {
            fs::remove_dir_all(&options.logs).at("remove", &options.logs)?;
        }
        fs::create_dir_all(&options.logs).at("create", &options.logs)?;
        let mut node = Node::prepare(1, options)?;
        let directory = node.world.isolation.directory("control")?;
        let credentials = Credentials::make(&directory, options.nodes)?;
        let control = Control::start(&directory, &credentials, &options.logs)?;
        let kubectl = Kubectl::new(&credentials.admin)?;
        node.join(&credentials, options)?;
        let others = (2..=options.nodes)
            .map(|number| Other::start(number, &credentials, options))
            .collect::<Result<Vec<_>, Error>>()?;
        node.furnish(options)?;
        if options.dns {
            kubectl.within(dns::NAMESPACE).create(&dns::manifests())?;
        }
        let logs = options.logs.clone();
        let mut cluster =
            Self { others, control, kubectl, node, credentials, logs, ready_after: Duration::ZERO };
        cluster.wait_for_nodes(options.nodes)?;
        cluster.ready_after = begin.elapsed();
        Ok(Some(cluster))
    }

    /// Starts the server of `kubectl top`, which ends when it is dropped.
    ///
    /// # Errors
    /// When it is not built, or the API server refuses its registration.
    pub fn serve_metrics(&self) -> Result<Component, Error> {
        metrics::start(&self.kubectl, &self.credentials, &self.logs)
    }

    /// What ends all of it from any thread.
    pub fn sweepers(&self) -> Vec<Sweeper> {
        let others = self.others.iter().map(Other::sweeper);
        std::iter::once(self.node.world.isolation.sweeper()).chain(others).collect()
    }

    fn wait_for_nodes(&self, nodes: u8) -> Result<(), Error> {
        for number in 1..=nodes {
            let node = format!("node/{}", name(number));
            self.kubectl.until("the node is ready", &["get", &node], Duration::from_secs(120), |node| {
                condition(node, "Ready").then_some(())
            })?;
        }
        // The first pods of a namespace are refused until this is there.
        self.kubectl.until(
            "the default service account",
            &["get", "serviceaccount/default"],
            Duration::from_secs(60),
            |_| Some(()),
        )
    }
}
