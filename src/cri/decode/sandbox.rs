//! `PodSandboxConfig`.

use super::{DecodeError, Field, is_set, resources, security, sysctls, text};
use crate::proto;
use model::{DnsConfig, LinuxSandbox, NamespaceMode, PortMapping, Protocol, SandboxConfig, SandboxMetadata};
use std::net::IpAddr;

/// A whole sandbox configuration.
pub(crate) fn sandbox(
    field: &Field<'_>,
    message: Option<proto::PodSandboxConfig>,
) -> Result<SandboxConfig, DecodeError> {
    let message = message.ok_or_else(|| field.missing())?;
    field.child("windows").refuse_if(windows_is_set(message.windows.as_ref()))?;
    let metadata = metadata(&field.child("metadata"), message.metadata)?;
    text::hostname(&field.child("hostname"), &message.hostname)?;
    let log_directory = text::absolute_if_any(&field.child("log_directory"), message.log_directory)?;
    let linux = linux(&field.child("linux"), message.linux)?;
    let on_host = linux.security.namespaces.network == NamespaceMode::Node;
    Ok(SandboxConfig {
        metadata,
        // The host's name cannot be another for one pod.
        hostname: if on_host { String::new() } else { message.hostname },
        log_directory,
        dns: dns(&field.child("dns_config"), message.dns_config)?,
        port_mappings: port_mappings(&field.child("port_mappings"), message.port_mappings)?,
        labels: message.labels,
        annotations: message.annotations,
        linux,
    })
}

/// A sandbox configuration that may be absent.
pub(crate) fn optional(
    field: &Field<'_>,
    message: Option<proto::PodSandboxConfig>,
) -> Result<Option<SandboxConfig>, DecodeError> {
    if is_set(message.as_ref()) { sandbox(field, message).map(Some) } else { Ok(None) }
}

fn metadata(
    field: &Field<'_>,
    message: Option<proto::PodSandboxMetadata>,
) -> Result<SandboxMetadata, DecodeError> {
    let message = message.ok_or_else(|| field.missing())?;
    text::name(&field.child("name"), &message.name)?;
    text::name(&field.child("uid"), &message.uid)?;
    text::name(&field.child("namespace"), &message.namespace)?;
    Ok(SandboxMetadata {
        name: message.name,
        uid: message.uid,
        namespace: message.namespace,
        attempt: message.attempt,
    })
}

fn dns(field: &Field<'_>, message: Option<proto::DnsConfig>) -> Result<Option<DnsConfig>, DecodeError> {
    let Some(message) = message.filter(|message| *message != proto::DnsConfig::default()) else {
        return Ok(None);
    };
    for (index, server) in message.servers.iter().enumerate() {
        let servers = field.child("servers");
        let field = servers.item(index);
        // A link-local address names its interface after a `%`.
        let (address, zone) = server.split_once('%').unwrap_or((server, "zone"));
        text::word(&field, zone)?;
        if address.parse::<IpAddr>().is_err() {
            return Err(field.invalid(format!("{server:?} is no IP address")));
        }
    }
    for (name, words) in [("searches", &message.searches), ("options", &message.options)] {
        for (index, entry) in words.iter().enumerate() {
            text::word(&field.child(name).item(index), entry)?;
        }
    }
    Ok(Some(DnsConfig { servers: message.servers, searches: message.searches, options: message.options }))
}

fn port_mappings(
    field: &Field<'_>,
    messages: Vec<proto::PortMapping>,
) -> Result<Vec<PortMapping>, DecodeError> {
    let decode = |(index, message): (usize, proto::PortMapping)| {
        let field = field.item(index);
        let host_ip = field.child("host_ip");
        Ok(PortMapping {
            protocol: match field.child("protocol").enumeration(message.protocol)? {
                proto::Protocol::Tcp => Protocol::Tcp,
                proto::Protocol::Udp => Protocol::Udp,
                proto::Protocol::Sctp => Protocol::Sctp,
            },
            container_port: match port(&field.child("container_port"), message.container_port)? {
                0 => return Err(field.child("container_port").missing()),
                port => port,
            },
            host_port: port(&field.child("host_port"), message.host_port)?,
            host_ip: match message.host_ip.as_str() {
                "" => None,
                ip => Some(ip.parse().map_err(|_| host_ip.invalid(format!("{ip:?} is no IP address")))?),
            },
        })
    };
    messages.into_iter().enumerate().map(decode).collect()
}

fn port(field: &Field<'_>, port: i32) -> Result<u16, DecodeError> {
    u16::try_from(port).map_err(|_| field.invalid(format!("{port} is not within 0 to 65535")))
}

fn linux(
    field: &Field<'_>,
    message: Option<proto::LinuxPodSandboxConfig>,
) -> Result<LinuxSandbox, DecodeError> {
    let message = message.unwrap_or_default();
    let parent = field.child("cgroup_parent");
    text::inside(&parent, &message.cgroup_parent)?;
    text::printable(&parent, &message.cgroup_parent)?;
    let security = security::sandbox(&field.child("security_context"), message.security_context)?;
    let stored = |name, message: Option<proto::LinuxContainerResources>| {
        let field = field.child(name);
        message.map(|message| resources::resources(&field, Some(message))).transpose()
    };
    Ok(LinuxSandbox {
        cgroup_parent: message.cgroup_parent,
        sysctls: sysctls::sysctls(&field.child("sysctls"), message.sysctls, &security.namespaces)?,
        overhead: stored("overhead", message.overhead)?,
        resources: stored("resources", message.resources)?,
        security,
    })
}

fn windows_is_set(message: Option<&proto::WindowsPodSandboxConfig>) -> bool {
    message.is_some_and(|message| is_set(message.security_context.as_ref()))
}
