//! From a call to the plugin that carries it out.

use crate::bridge::Bridges;
use crate::firewall::Filter;
use crate::host_local::Leases;
use crate::types::{CniError, CniResult, Command, Invocation};
use crate::{bridge, host_local, loopback, portmap};

/// The built-in plugins with what they remember between calls: guesses that spare work, of which the kernel and the files
/// have the last word.
#[derive(Debug, Default)]
pub struct Plugins {
    pub(crate) bridges: Bridges,
    pub(crate) filter: Filter,
    pub(crate) leases: Leases,
}

impl Plugins {
    /// Carries a call out with the built-in plugin that its configuration names. Only ADD has a result.
    ///
    /// # Errors
    /// What the plugin reports; [`CniError::INVALID_CONFIG`] for a plugin that is not built in.
    pub fn run(&self, call: &Invocation) -> Result<Option<CniResult>, CniError> {
        let plugin = call.conf.plugin_type();
        match (plugin, call.command) {
            ("bridge", Command::Add) => bridge::add(self, call).map(Some),
            ("bridge", Command::Del) => bridge::del(self, call).map(none),
            ("bridge", Command::Check) => bridge::check(self, call).map(none),
            ("bridge", Command::Status) => bridge::status(self, call).map(none),
            ("bridge", Command::Gc) => bridge::gc(self, call).map(none),
            ("host-local", Command::Add) => host_local::add(&self.leases, call).map(Some),
            ("host-local", Command::Del) => host_local::del(&self.leases, call).map(none),
            ("host-local", Command::Check) => host_local::check(&self.leases, call).map(none),
            ("host-local", Command::Status) => host_local::status(&self.leases, call).map(none),
            ("host-local", Command::Gc) => host_local::gc(&self.leases, call).map(none),
            ("portmap", Command::Add) => portmap::add(&self.filter, call).map(Some),
            ("portmap", Command::Del) => portmap::del(&self.filter, call).map(none),
            ("portmap", Command::Check) => portmap::check(&self.filter, call).map(none),
            ("portmap", Command::Status) => portmap::status(call).map(none),
            ("portmap", Command::Gc) => portmap::gc(&self.filter, call).map(none),
            ("loopback", Command::Add) => loopback::add(call).map(Some),
            ("loopback", Command::Del) => loopback::del(call).map(none),
            ("loopback", Command::Check) => loopback::check(call).map(none),
            ("loopback", Command::Status | Command::Gc) => Ok(None),
            ("bridge" | "host-local" | "portmap" | "loopback", Command::Version) => Ok(None),
            _ => Err(CniError::new(CniError::INVALID_CONFIG, format!("no built-in plugin {plugin:?}"))),
        }
    }

    /// Makes what the ADD of an attachment to come makes first, in its namespace that nobody else has yet: an ADD of the same
    /// container, interface and network that finds it in its [`crate::types::NetnsRef`] goes on from there. `None` where
    /// nothing is to be made ahead: by another plugin than bridge, and for a bridge that no ADD has made yet.
    ///
    /// # Errors
    /// When the configuration is wrong or the kernel refuses; nothing is left then.
    pub fn prepare(&self, call: &Invocation) -> Result<Option<crate::Ready>, CniError> {
        match call.conf.plugin_type() {
            "bridge" => bridge::prepare(self, call),
            _ => Ok(None),
        }
    }

    /// Makes again what somebody has flushed of the packet rules of attachments: each call holds the configuration and the
    /// result of an ADD, as those of CHECK do. Whether anything was missing. What other plugins have made is theirs.
    ///
    /// # Errors
    /// When the kernel refuses, or what a call asks for cannot be; everything else has been made all the same.
    pub fn heal(&self, calls: impl Iterator<Item = Invocation>) -> Result<bool, CniError> {
        let (mut bridged, mut mapped) = (bridge::Rules::default(), portmap::Rules::default());
        let mut understood = Ok(());
        for call in calls {
            match call.conf.plugin_type() {
                "bridge" => bridged.expect(&call),
                "portmap" => understood = understood.and(mapped.expect(&call)),
                _ => {}
            }
        }
        // The rules that keep 127.0.0.0/8 on the node are needed behind the last host port, too.
        let is_open = bridged.route_loopback();
        let bridged = bridged.heal(&self.filter);
        let mapped = mapped.heal(&self.filter, is_open);
        understood?;
        Ok(bridged? | mapped?)
    }

    /// A number that changes with every change of packet rules on this host; `None` where it cannot be known.
    pub fn rules_generation(&self) -> Option<u32> {
        self.filter.socket().ok().and_then(|socket| sys::nft::generation(&socket).ok())
    }
}

/// Verifies what the built-in plugin of that type would refuse of a configuration at its first ADD, without a look at
/// the host. What the runtime adds to each call need not be there.
///
/// # Errors
/// What is wrong with it; [`CniError::INVALID_CONFIG`] for a plugin that is not built in.
pub fn validate(call: &Invocation) -> Result<(), CniError> {
    match call.conf.plugin_type() {
        "bridge" => bridge::validate(call),
        "host-local" => host_local::validate(call),
        "portmap" => portmap::validate(call),
        "loopback" => Ok(()),
        plugin => Err(CniError::new(CniError::INVALID_CONFIG, format!("no built-in plugin {plugin:?}"))),
    }
}

fn none((): ()) -> Option<CniResult> {
    None
}
