//! What an ADD has made, in the form in which it is kept until DEL.

use crate::{NetError, Result};
use cni::types::{CniResult, Dns, NetworkConfigList};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A plugin's result, verbatim. As text: kept as a tree of values it takes several times the memory, for each pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim(Box<str>);

impl Verbatim {
    /// The result as a value.
    #[must_use]
    pub fn value(&self) -> Value {
        // It was a value's text when it was taken.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&Value> for Verbatim {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into_boxed_str())
    }
}

impl Serialize for Verbatim {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Verbatim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::from(&value))
    }
}

/// A pod's place in a network: everything that DEL and CHECK must be given again, exactly as ADD had it
/// (libcni keeps the same in its cache), and the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// The CNI container id, which is the sandbox's.
    pub container_id: String,
    /// The interface inside the pod.
    pub ifname: String,
    /// Where the network namespace was pinned.
    pub netns: PathBuf,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments, by capability.
    pub capability_args: Map<String, Value>,
    /// The configuration that was in force.
    pub config: Arc<NetworkConfigList>,
    /// Which of its plugins ran in process; DEL goes the same way, as the two may keep state apart.
    pub in_process: Vec<bool>,
    /// The last plugin's result, verbatim; `None` until ADD has succeeded, or has failed and what its plugins had done by
    /// then could not be undone.
    pub result: Option<Verbatim>,
    /// The pod's addresses: the first of each family, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Resolver settings of all plugins together.
    pub dns: Dns,
}

impl Attachment {
    /// The result in its 1.1.0 form; `None` until ADD has succeeded.
    ///
    /// # Errors
    /// When what was stored is not a result.
    pub fn cni_result(&self) -> Result<Option<CniResult>> {
        match &self.result {
            None => Ok(None),
            Some(said) => Ok(Some(CniResult::from_value(said.value(), self.config.cni_version)?)),
        }
    }

    /// Takes over the outcome of a successful ADD.
    ///
    /// # Errors
    /// When the interface has no address.
    pub(crate) fn finish(&mut self, value: Value, dns: Dns) -> Result<()> {
        self.result = Some(Verbatim::from(&value));
        let result = CniResult::from_value(value, self.config.cni_version)?;
        self.ips = result.addresses_on(&self.ifname);
        self.dns = dns;
        if self.ips.is_empty() {
            let network = self.config.name.clone();
            return Err(NetError::NoAddress { network, ifname: self.ifname.clone() });
        }
        Ok(())
    }

    /// Whether ADD has succeeded.
    pub(crate) fn is_attached(&self) -> bool {
        self.result.is_some() && !self.ips.is_empty()
    }

    /// Forgets the plugins after the first ones.
    pub(crate) fn keep_first(&mut self, count: usize) {
        Arc::make_mut(&mut self.config).plugins.truncate(count);
        self.in_process.truncate(count);
    }

    /// The pod's namespace and name, for the log.
    pub(crate) fn pod(&self) -> String {
        pod_of(&self.args)
    }
}

/// The configurations of attachments that are read back, each once: every record brings a copy of its own.
#[derive(Debug, Default)]
pub struct Configurations(Vec<Arc<NetworkConfigList>>);

impl Configurations {
    /// Has an attachment hold the configuration that an earlier one has, where they are the same.
    pub fn share(&mut self, attachment: &mut Attachment) {
        match self.0.iter().find(|known| **known == attachment.config) {
            Some(known) => attachment.config = Arc::clone(known),
            None => self.0.push(Arc::clone(&attachment.config)),
        }
    }
}

/// The pod's namespace and name as `CNI_ARGS` have them.
pub(crate) fn pod_of(args: &[(String, String)]) -> String {
    let value = |key| args.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    format!("{}/{}", value("K8S_POD_NAMESPACE"), value("K8S_POD_NAME"))
}

/// Adds what `more` says to `dns`, without repeating anything; the later domain wins.
pub(crate) fn merge_dns(dns: &mut Dns, more: Dns) {
    let merge = |all: &mut Vec<String>, more: Vec<String>| {
        for item in more {
            if !all.contains(&item) {
                all.push(item);
            }
        }
    };
    merge(&mut dns.nameservers, more.nameservers);
    merge(&mut dns.search, more.search);
    merge(&mut dns.options, more.options);
    if !more.domain.is_empty() {
        dns.domain = more.domain;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use cni::types::Version;
    use serde_json::json;

    fn ips(value: Value) -> Vec<String> {
        let result = CniResult::from_value(value, Version::LATEST).unwrap();
        result.addresses_on("eth0").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_of_each_family_in_order() {
        let interfaces =
            json!([{"name": "br0"}, {"name": "eth0", "sandbox": "/ns"}, {"name": "net1", "sandbox": "/ns"}]);
        assert_eq!(
            ips(json!({"interfaces": interfaces, "ips": [
                {"address": "10.9.0.1/16", "interface": 0}, {"address": "10.7.0.1/16", "interface": 2},
                {"address": "fd00::5/64", "interface": 1}, {"address": "10.8.0.5/16", "interface": 1},
                {"address": "10.8.0.6/16", "interface": 1}]})),
            ["fd00::5", "10.8.0.5"]
        );
        assert_eq!(ips(json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/8"}})), ["10.0.0.2"]);
        assert!(
            ips(json!({"interfaces": interfaces, "ips": [{"address": "10.9.0.1/16", "interface": 0}]}))
                .is_empty()
        );
        // As go-cni takes them: by the interface's name, where the plugin says nothing of sandboxes.
        let silent = json!([{"name": "br0"}, {"name": "eth0"}, {"name": "net1"}]);
        assert_eq!(
            ips(json!({"interfaces": silent, "ips": [
                {"address": "10.9.0.1/16", "interface": 0}, {"address": "10.7.0.1/16", "interface": 2},
                {"address": "10.8.0.5/16", "interface": 1}]})),
            ["10.8.0.5"]
        );
        // The host may have one of that name.
        let both = json!([{"name": "eth0"}, {"name": "eth0", "sandbox": "/ns"}]);
        assert_eq!(
            ips(json!({"interfaces": both, "ips": [
                {"address": "10.9.0.1/16", "interface": 0}, {"address": "10.8.0.5/16", "interface": 1}]})),
            ["10.8.0.5"]
        );
    }

    #[test]
    fn configurations_that_are_the_same_are_held_once() {
        let attachment = |bridge: &str| -> Attachment {
            let plugins = json!([{"type": "bridge", "bridge": bridge}]);
            serde_json::from_value(json!({
                "container_id": "c1", "ifname": "eth0", "netns": "/run/netns/n1", "args": [], "capability_args": {},
                "config": {"name": "net", "cniVersion": "1.0.0", "plugins": plugins}, "in_process": [true],
                "result": {"ips": [{"address": "10.0.0.2/8"}]}, "ips": ["10.0.0.2"], "dns": {},
            }))
            .unwrap()
        };
        let mut attachments = ["br0", "br0", "br1"].map(attachment);
        let mut known = Configurations::default();
        attachments.iter_mut().for_each(|attachment| known.share(attachment));
        let [first, same, other] = &attachments;
        assert!(Arc::ptr_eq(&first.config, &same.config));
        assert!(!Arc::ptr_eq(&first.config, &other.config));
        let kept = serde_json::to_value(first).unwrap();
        assert_eq!(kept["result"], json!({"ips": [{"address": "10.0.0.2/8"}]}));
    }

    #[test]
    fn dns_of_several_plugins() {
        let mut dns = Dns { nameservers: vec!["1.1.1.1".into()], domain: "a".into(), ..Dns::default() };
        let more = Dns {
            nameservers: vec!["1.1.1.1".into(), "2.2.2.2".into()],
            search: vec!["x".into()],
            ..Dns::default()
        };
        merge_dns(&mut dns, more);
        assert_eq!(dns.nameservers, ["1.1.1.1", "2.2.2.2"]);
        assert_eq!((dns.domain.as_str(), dns.search.len()), ("a", 1));
    }
}
