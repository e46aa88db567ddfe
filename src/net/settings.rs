//! What an operator can set for networks; the `[network]` section of the configuration.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// Where CNI configurations (`.conflist`, `.conf`, `.json`) are; the lexically first valid one is used.
    pub conf_dir: PathBuf,
    /// Where plugin binaries are looked for, in this order.
    pub bin_dirs: Vec<PathBuf>,
    /// Use the built-in bridge network while `conf_dir` holds no configuration, and never held one.
    pub builtin_network: bool,
    /// Run plugins that Corten implements (bridge, host-local, portmap, loopback) in process instead of
    /// executing their binaries. The built-in network always runs in process.
    pub in_process: bool,
    /// Subnets of the built-in network until the node is given pod CIDRs, the primary family first. Empty:
    /// the first of 10.88.0.0/16, 10.89.0.0/16, … that no route of the host overlaps.
    pub subnets: Vec<IpNet>,
    /// Give the built-in network an IPv6 subnet too (of fd10:88::/32) where `subnets` is empty.
    pub ipv6: bool,
    /// MTU in bytes of the built-in network's interfaces; 0 is the kernel's choice.
    pub mtu: u32,
    /// Seconds after which a plugin that is being executed is killed, with everything it started.
    pub plugin_timeout_seconds: u64,
    /// Seconds between checks that the plugins are there and, from CNI 1.1.0 on, say that they can serve.
    pub status_interval_seconds: u64,
    /// How many plugins may be executing at once; further calls wait.
    pub max_executing_plugins: usize,
    /// Most network namespaces that are made ahead and wait for a pod; 0 makes each when it is needed.
    pub warm_namespaces: u16,
    /// Runtime state, gone after a reboot; the daemon sets it below its own state directory.
    #[serde(skip)]
    pub state_dir: PathBuf,
    /// Durable data; the daemon sets it below its own data directory.
    #[serde(skip)]
    pub data_dir: PathBuf,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into(), "/usr/libexec/cni".into()],
            builtin_network: true,
            in_process: true,
            subnets: Vec::new(),
            ipv6: false,
            mtu: 0,
            plugin_timeout_seconds: 60,
            status_interval_seconds: 10,
            max_executing_plugins: 64,
            warm_namespaces: 8,
            state_dir: "/run/corten/network".into(),
            data_dir: "/var/lib/corten/network".into(),
        }
    }
}

impl NetworkSettings {
    /// What is wrong with the subnets: a pod gets one address of each family.
    pub fn check_subnets(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (at, net) in self.subnets.iter().enumerate() {
            let is_ipv4 = net.addr().is_ipv4();
            let (family, longest) = if is_ipv4 { ("IPv4", 30) } else { ("IPv6", 126) };
            if let Some(first) = self.subnets[..at].iter().find(|first| first.addr().is_ipv4() == is_ipv4) {
                problems.push(format!(
                    "{net} is a second {family} subnet beside {first}, and a pod gets one address of each family: \
                     leave one"
                ));
            }
            if net.prefix_len() > longest {
                problems.push(format!(
                    "{net} has no room for a gateway and pods: the prefix of an {family} subnet has at most \
                     {longest} bits"
                ));
            }
        }
        problems
    }

    pub(crate) fn plugin_timeout(&self) -> Duration {
        Duration::from_secs(self.plugin_timeout_seconds.max(1))
    }

    pub(crate) fn status_interval(&self) -> Duration {
        Duration::from_secs(self.status_interval_seconds.max(1))
    }
}
