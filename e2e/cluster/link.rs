//! The links between nodes: a bridge on the first, and a pair of interfaces for each other one.

use crate::cluster::address::{self, BRIDGE, SERVICES};
use crate::error::{Context, Error};
use crate::{command, tools};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Makes the bridge on the first node.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn first() -> Result<(), Error> {
    forward()?;
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("address add {}/24 dev {BRIDGE}", address::node(1)))?;
    ip(&format!("link set {BRIDGE} up"))?;
    // There is no way out of here; what is sent to a Service needs one to begin with, and kube-proxy turns it around.
    ip(&format!("route add {SERVICES} dev {BRIDGE}"))
}

/// On the first node: a link to another node whose namespace a thread is in, and the way to its pods.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn to(number: u8, thread: i32) -> Result<(), Error> {
    ip(&format!("link add to{number} type veth peer name {BRIDGE} netns {thread}"))?;
    ip(&format!("link set to{number} master {BRIDGE} up"))
}

/// On the first node, once another one has its address: the way to its pods.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn route(number: u8) -> Result<(), Error> {
    ip(&format!("route add {} via {}", address::pods(number), address::node(number)))
}

/// On another node, once the link is there: its address, and the way to everybody else.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn from(number: u8) -> Result<(), Error> {
    forward()?;
    ip(&format!("address add {}/24 dev {BRIDGE}", address::node(number)))?;
    ip(&format!("link set {BRIDGE} up"))?;
    ip(&format!("route add default via {}", address::node(1)))
}

/// Each thread sees the setting of its own namespace.
fn forward() -> Result<(), Error> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    fs::write(path, "1").at("write", path)
}

fn ip(line: &str) -> Result<(), Error> {
    let mut command = Command::new(tools::system("ip")?);
    command::run(command.args(line.split(' ')), Duration::from_secs(10)).map(drop)
}
