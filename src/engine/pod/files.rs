//! The files that a pod's containers see, and the pod as the network sees it.
//!
//! Containers may write to them, so they lie on a small filesystem of the pod's own: what one pod fills is its own. Its
//! shared memory is another one below, so that neither takes the other's room. These are the two mounts that a pod adds
//! to the host's table.

use crate::error::EngineError;
use crate::host::Host;
use crate::record::{PodFiles, PodRecord};
use model::{DnsConfig, NamespaceMode, SandboxConfig};
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const MODE: u32 = 0o644;
/// Of what belongs to one pod: nobody else's business.
const PRIVATE: u32 = 0o700;
/// For the files.
const ROOM: u64 = 256 << 10;
/// So many of them there may be, with directories and what takes the place of one.
const FILES: u32 = 32;

/// Makes a directory that only root of the host enters.
pub(crate) fn make_private(dir: &Path) -> Result<(), EngineError> {
    let made = fs::DirBuilder::new().mode(PRIVATE).create(dir);
    made.map_err(EngineError::io("make the directory", dir))
}

/// Lets nobody but root of the host into a pod's directory; for an OCI runtime also root of the pod's user namespace,
/// which is what reaches the files there, where the shim's own launcher opens them before it changes users.
pub(crate) fn protect(
    host: &dyn Host,
    dir: &Path,
    config: &SandboxConfig,
    is_foreign: bool,
) -> Result<(), EngineError> {
    let (mode, group) = match crate::userns::root_of(config) {
        Some((_, group)) if is_foreign => (0o710, group),
        _ => (PRIVATE, 0),
    };
    host.give(dir, group)?;
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(dir, mode).map_err(EngineError::io("set the mode of", dir))
}

/// Mounts the pod's own filesystem, and below it one for its shared memory where it has some.
pub(crate) fn mount_own(
    host: &dyn Host,
    files: &PodFiles,
    config: &SandboxConfig,
    shm_size: u64,
    label: &str,
) -> Result<(), EngineError> {
    let namespaces = &config.linux.security.namespaces;
    let hosts = if namespaces.network == NamespaceMode::Node { length("/etc/hosts") } else { 0 };
    let size = ROOM.saturating_add(hosts).saturating_add(length("/etc/resolv.conf"));
    mount_tmpfs(host, &files.own(), &format!("mode=755,size={size},nr_inodes={FILES}"), label)?;
    if namespaces.ipc != NamespaceMode::Pod {
        return Ok(());
    }
    let (uid, gid) = crate::userns::root_of(config).unwrap_or_default();
    mount_tmpfs(host, &files.shm(), &format!("mode=1777,size={shm_size},uid={uid},gid={gid}"), label)
}

fn mount_tmpfs(host: &dyn Host, path: &Path, options: &str, label: &str) -> Result<(), EngineError> {
    make_private(path)?;
    let context = if label.is_empty() { String::new() } else { format!(",context=\"{label}\"") };
    host.mount(path, &CString::new(format!("{options}{context}")).unwrap_or_default())
}

/// Of a file of the host whose text is the pod's.
fn length(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

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
pub(crate) fn write_names(files: &PodFiles, id: &str, config: &SandboxConfig) -> Result<(), EngineError> {
    let resolv = match &config.dns {
        Some(dns) => resolv_conf(dns),
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    put(&files.resolv_conf(), &resolv, config)?;
    put(&files.hostname(), &format!("{}\n", hostname(id, config)), config)
}

/// Writes the hosts file, for containers to which the kubelet mounts none.
pub(crate) fn write_hosts(
    files: &PodFiles,
    id: &str,
    config: &SandboxConfig,
    ips: &[IpAddr],
) -> Result<(), EngineError> {
    if config.linux.security.namespaces.network == NamespaceMode::Node {
        return put(&files.hosts(), &fs::read_to_string("/etc/hosts").unwrap_or_default(), config);
    }
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ip in ips {
        let _ = writeln!(text, "{ip}\t{}", hostname(id, config));
    }
    put(&files.hosts(), &text, config)
}

fn put(path: &Path, text: &str, config: &SandboxConfig) -> Result<(), EngineError> {
    sys::fs::write_atomic(path, text.as_bytes(), MODE)
        .map_err(EngineError::sys(format!("write {path:?}")))?;
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
        sandbox_id: record.id.to_string(),
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
