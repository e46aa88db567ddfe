//! A namespace in the place of a pod's that is gone. The bridge and ptp plugins of others learn from the pod's interface
//! which rules of the host's packet filter are the pod's: without a namespace their DEL frees the address alone.

use crate::Attachment;
use crate::chain::Removal;
use cni::types::{CniResult, Interface, PluginConfig};
use serde_json::Value;
use sys::SysResult;
use sys::netlink::{Address, Batch, BridgeLink, Mac, link_info};
use sys::netns::{self, Netns};

/// The plugins that do so.
const PLUGINS: [&str; 2] = ["bridge", "ptp"];
/// Of the interface, on which nothing is ever sent.
const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 1]);

/// What the pod's interface had, where a plugin that is asked to delete has need of it and nobody has it any more.
pub(crate) fn addresses(removal: &Removal<'_>) -> Vec<Address> {
    let Attachment { config, in_process, .. } = removal.attachment;
    let is_executed = |index: usize| !in_process.get(index).copied().unwrap_or_default();
    let mut plugins = config.plugins.iter().enumerate();
    if removal.netns.is_some() || !plugins.any(|(index, plugin)| is_executed(index) && is_wanted_by(plugin)) {
        return Vec::new();
    }
    let result = removal.attachment.cni_result().ok().flatten();
    result.map(|result| of_interface(&result, &removal.attachment.ifname)).unwrap_or_default()
}

/// Whether a plugin finds rules by the interface.
pub(crate) fn is_wanted_by(plugin: &PluginConfig) -> bool {
    PLUGINS.contains(&plugin.plugin_type())
        && plugin.get("ipMasq").and_then(Value::as_bool).unwrap_or_default()
}

fn of_interface(result: &CniResult, ifname: &str) -> Vec<Address> {
    let is_inside = |interface: &Interface| interface.name == ifname && !interface.sandbox.is_empty();
    let ips = result.ips.iter().filter(|ip| {
        let interface = ip.interface.and_then(|at| result.interfaces.get(usize::try_from(at).ok()?));
        interface.is_none_or(is_inside)
    });
    ips.map(|ip| Address { ip: ip.address.addr(), prefix: ip.address.prefix_len() }).collect()
}

/// Makes one with such an interface, which ends when it is dropped. Blocks.
pub(crate) fn make(ifname: &str, addresses: &[Address]) -> SysResult<Netns> {
    let namespace = netns::make()?;
    let mut batch = Batch::new();
    batch.create_bridge(&BridgeLink { name: ifname, mac: MAC, mtu: 0, promiscuous: false });
    batch.get_link(ifname);
    let made = link_info(&namespace.rtnl().run(&mut batch)?);
    let mut batch = Batch::new();
    for address in addresses {
        batch.add_address(ifname, made.as_ref().map_or(0, |link| link.index), *address, false);
    }
    namespace.rtnl().run(&mut batch)?;
    Ok(namespace)
}
