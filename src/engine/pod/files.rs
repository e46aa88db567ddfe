//! The files that a pod's containers see, and the pod as the network sees it.

use crate::error::EngineError;
use crate::record::{PodFiles, PodRecord};
use model::{DnsConfig, NamespaceMode, SandboxConfig};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

const MODE: u32 = 0o644;

/// The name that processes of the pod see; with the host's network, the host's.
pub(crate) fn hostname(id: &str, config: &SandboxConfig) -> String {
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    if config.linux.security.namespaces.network == NamespaceMode::Node {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    id.chars().take(12).collect()
}

/// Writes resolv.conf and hostname.
pub(crate) fn write_names(
    files: &PodFiles,
    id: &str,
    config: &SandboxConfig,
    label: &str,
) -> Result<(), EngineError> {
    let resolv = match &config.dns {
        Some(dns) => resolv_conf(dns),
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    put(&files.resolv_conf(), &resolv, config, label)?;
    put(&files.hostname(), &format!("{}\n", hostname(id, config)), config, label)
}

/// Writes the hosts file, for containers to which the kubelet mounts none.
pub(crate) fn write_hosts(
    files: &PodFiles,
    id: &str,
    (config, label): (&SandboxConfig, &str),
    ips: &[IpAddr],
) -> Result<(), EngineError> {
    if config.linux.security.namespaces.network == NamespaceMode::Node {
        return put(&files.hosts(), &fs::read_to_string("/etc/hosts").unwrap_or_default(), config, label);
    }
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ip in ips {
        let _ = writeln!(text, "{ip}\t{}", hostname(id, config));
    }
    put(&files.hosts(), &text, config, label)
}

fn put(path: &Path, text: &str, config: &SandboxConfig, label: &str) -> Result<(), EngineError> {
    sys::fs::write_atomic(path, text.as_bytes(), MODE)
        .map_err(EngineError::sys(format!("write {path:?}")))?;
    if !label.is_empty() {
        oci::selinux::set_label(path, label)?;
    }
    crate::userns::give(path, config)
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

/// The pod as the network's verbs take it; `None` with the host's network.
pub(crate) fn network_of(record: &PodRecord) -> Option<net::PodNetwork> {
    let netns = record.netns.clone()?;
    let config = &record.config;
    Some(net::PodNetwork {
        sandbox_id: record.id.clone(),
        name: config.metadata.name.clone(),
        namespace: config.metadata.namespace.clone(),
        uid: config.metadata.uid.clone(),
        netns,
        port_mappings: config.port_mappings.clone(),
        dns: config.dns.clone(),
        annotations: config.annotations.clone(),
        cgroup_path: config.linux.cgroup_parent.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_has_the_lines_that_were_asked_for() {
        let dns = DnsConfig {
            servers: vec!["10.0.0.10".into(), "fd00::10".into()],
            searches: vec!["a.svc".into(), "svc".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.svc svc\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
    }
}
