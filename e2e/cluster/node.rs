//! A node: a runtime in an isolation, with kubelet and kube-proxy.

use crate::cluster::component::Component;
use crate::cluster::credentials::Credentials;
use crate::cluster::{Options, address, images, kubelet, link, proxy};
use crate::error::{Context, Error};
use crate::ground::Ground;
use crate::network::Network;
use crate::runtime;
use crate::world::World;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The name of a node.
pub fn name(number: u8) -> String {
    format!("node{number}")
}

/// A node; it belongs to the thread that prepared it. The fields are dropped in this order.
#[derive(Debug)]
pub struct Node {
    /// The kubelet, once the node has joined.
    pub kubelet: Option<Component>,
    /// kube-proxy, once the node has joined.
    pub proxy: Option<Component>,
    /// The runtime and what it stands on.
    pub world: World,
    _ground: Ground,
    number: u8,
    logs: PathBuf,
}

impl Node {
    /// Moves the calling thread into an isolation and starts the runtime there.
    ///
    /// # Errors
    /// When something is missing or does not start.
    pub(crate) fn prepare(number: u8, options: &Options) -> Result<Self, Error> {
        let logs = options.logs.join(name(number));
        fs::create_dir_all(&logs).at("create", &logs)?;
        let change = |mut given: runtime::Options| {
            given.kind = options.kind;
            if let Network::List(list) = &mut given.network {
                pods_of(number, list);
            }
            given.extra.push_str(&options.runtime);
            given
        };
        let world = World::with(change)?.ok_or_else(|| Error::Missing {
            what: "the right to make namespaces".to_owned(),
            part: "cluster",
        })?;
        let ground = Ground::prepare(&world.isolation)?;
        if number == 1 {
            link::first()?;
        }
        Ok(Self { kubelet: None, proxy: None, world, _ground: ground, number, logs })
    }

    /// Pushes the images that every cluster has, and does what this one wants done on its nodes.
    ///
    /// # Errors
    /// When a program was not built, or the registry refuses.
    pub(crate) fn furnish(&self, options: &Options) -> Result<(), Error> {
        images::push(&self.world.registry)?;
        options.furnish.map_or(Ok(()), |furnish| furnish(&self.world.registry))
    }

    /// Starts kubelet and kube-proxy.
    ///
    /// # Errors
    /// When a program is missing.
    pub(crate) fn join(&mut self, credentials: &Credentials, options: &Options) -> Result<(), Error> {
        let own = self.world.isolation.directory("node")?;
        self.proxy = Some(proxy::start(self.number, &own, credentials, &self.logs)?);
        let kubelet = kubelet::start(self.number, &self.world, credentials, options, &self.logs)?;
        self.kubelet = Some(kubelet);
        Ok(())
    }

    /// Adds a static pod, or replaces it.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn add_static(&self, name: &str, pod: &Value) -> Result<(), Error> {
        let path = kubelet::manifests().join(format!("{name}.json"));
        fs::write(&path, pod.to_string()).at("write", &path)
    }

    /// Removes a static pod.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn remove_static(&self, name: &str) -> Result<(), Error> {
        let path = kubelet::manifests().join(format!("{name}.json"));
        fs::remove_file(&path).at("remove", &path)
    }
}

/// Gives the network of a node's pods its range; what leaves it keeps its address, as there is a route back.
fn pods_of(number: u8, list: &mut Value) {
    let bridge = &mut list["plugins"][0];
    bridge["bridge"] = json!("pods0");
    bridge["ipMasq"] = json!(false);
    bridge["ipam"]["ranges"] = json!([[{"subnet": address::pods(number)}]]);
}
