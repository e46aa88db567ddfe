//! Which hosts serve a registry: `certs.d/<host>/hosts.toml`, the convention of containerd.
//!
//! For the registry `reg.example:5000` the first directory that exists of `reg.example_5000_`,
//! `reg.example:5000` and `_default` counts; of several `certs.d` the first that has one of these. It is read anew at each
//! pull, so that a change needs no restart.

mod check;
mod directories;
mod error;
mod files;
mod parse;
mod signatures;
mod tls;
mod users;

#[cfg(test)]
mod tests;

pub use directories::CertsDirs;
pub use error::HostsError;
pub(crate) use files::{Files, FoundHost, FoundHosts};
pub(crate) use tls::{Tls, is_authority};
pub use users::without_users;

use crate::reference::Reference;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tls::client_config;

/// What says of a registry whom to ask for it.
const FILE: &str = "hosts.toml";
/// The most bytes of a file of the operator.
const MAX_BYTES: u64 = 4 << 20;

/// One host that may serve a registry's content.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Scheme, host, port and the API's path prefix, without a slash at the end.
    pub base: Url,
    /// May turn tags into digests.
    pub resolve: bool,
    /// May serve manifests by digest, and blobs.
    pub pull: bool,
    /// PEM files with further roots.
    pub ca: Vec<Pem>,
    /// PEM files: certificate and key (`None`: both in one file).
    pub client: Vec<(Pem, Option<Pem>)>,
    /// Takes any certificate.
    pub skip_verify: bool,
    /// Sent with each request to this host.
    pub headers: HeaderMap,
    /// `None`: the setting.
    pub dial_timeout: Option<Duration>,
    /// The registry for which this host stands in: sent as `ns=`.
    pub namespace: Option<String>,
    /// Whether its address is written in a `hosts.toml`, and not what users named.
    pub configured: bool,
    /// The `hosts.toml` that speaks of it, or would.
    pub file: PathBuf,
}

/// A PEM file of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pem {
    pub path: PathBuf,
    /// The line of the `hosts.toml` that names it; `None` where it is found without one.
    pub line: Option<usize>,
}

/// Scheme, host and port of an address; nothing of its path, query or user.
pub(crate) fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// The hosts for a reference in the order to ask them; the registry's own is the last.
///
/// # Errors
/// When the configuration that applies is unusable: a mistake there must not silently change where
/// images come from.
pub(crate) fn resolve(certs_dirs: &CertsDirs, reference: &Reference) -> Result<Vec<Host>, HostsError> {
    resolve_with_source(certs_dirs, reference).map(|(_, hosts)| hosts)
}

/// As [`resolve`], with the file or directory that decided; none where there is none for this registry.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn resolve_with_source(
    certs_dirs: &CertsDirs,
    reference: &Reference,
) -> Result<(Option<PathBuf>, Vec<Host>), HostsError> {
    let registry = reference.registry();
    for directory in certs_dirs.paths().iter().flat_map(|path| candidates(path, registry)) {
        if let Some((path, hosts)) = of_directory(&directory, registry)? {
            return Ok((Some(path), hosts));
        }
    }
    let first = certs_dirs.paths().first().and_then(|path| candidates(path, registry).into_iter().next());
    let file = first.map(|directory| directory.join(FILE)).unwrap_or_default();
    Ok((None, vec![Host { file, ..default_host(registry)? }]))
}

/// Directories for the registry that are not looked into, because an earlier one of `certs_dirs` decided.
fn passed_over(certs_dirs: &CertsDirs, source: &Path, reference: &Reference) -> Vec<PathBuf> {
    let later = certs_dirs.paths().iter().skip_while(|path| !source.starts_with(path)).skip(1);
    let candidates = later.filter_map(|path| {
        let mut candidates = candidates(path, reference.registry()).into_iter();
        candidates.find(|directory| directory.is_dir())
    });
    candidates.collect()
}

/// What a directory says of a registry, and the file or directory that says it; `None` where it is not there.
fn of_directory(directory: &Path, registry: &str) -> Result<Option<(PathBuf, Vec<Host>)>, HostsError> {
    let path = directory.join(FILE);
    match sys::regular::read_text(&path, MAX_BYTES) {
        Ok(text) => {
            let hosts = parse_text(&path, &text, registry)?;
            Ok(Some((path, hosts)))
        }
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            if !directory.is_dir() {
                return Ok(None);
            }
            let host = Host { file: path, ..docker_certificates(directory, default_host(registry)?)? };
            Ok(Some((directory.to_owned(), vec![host])))
        }
        Err(source) => Err(HostsError::Read { path, source }),
    }
}

/// The hosts as the text of a `hosts.toml` at the path names them.
pub(crate) fn parse_text(path: &Path, text: &str, registry: &str) -> Result<Vec<Host>, HostsError> {
    parse::hosts(path, text, registry)
}

fn candidates(certs_dir: &Path, registry: &str) -> Vec<PathBuf> {
    let mut names = Vec::with_capacity(3);
    if let Some((host, port)) = registry.rsplit_once(':')
        && !port.ends_with(']')
    {
        names.push(format!("{host}_{port}_"));
    }
    names.push(registry.to_owned());
    names.push("_default".to_owned());
    names.into_iter().map(|name| certs_dir.join(name)).collect()
}

/// A directory without `hosts.toml` is read as Docker does: `*.crt` are roots, `x.cert` and `x.key` a pair.
fn docker_certificates(directory: &Path, mut host: Host) -> Result<Host, HostsError> {
    let read = |source| HostsError::Read { path: directory.to_owned(), source };
    let pem = |path| Pem { path, line: None };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(read)? {
        files.push(entry.map_err(read)?.path());
    }
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => host.ca.push(pem(file)),
            Some("cert") => host.client.push((pem(file.clone()), Some(pem(file.with_extension("key"))))),
            _ => {}
        }
    }
    Ok(host)
}

/// The host that a registry's name means by itself: HTTPS, but plain HTTP for a loopback name on any port
/// but 443 (as containerd does for test registries).
fn default_host(registry: &str) -> Result<Host, HostsError> {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let scheme = if is_loopback(host) { "http" } else { "https" };
    let base =
        Url::parse(&format!("{scheme}://{host}/v2")).map_err(|_| HostsError::Address(registry.to_owned()))?;
    Ok(bare(base, registry))
}

fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let loopback = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback && port != Some("443")
}

/// A host with every capability and nothing special.
fn bare(base: Url, registry: &str) -> Host {
    let namespace = stands_in(&base, registry).then(|| registry.to_owned());
    Host {
        base,
        resolve: true,
        pull: true,
        ca: Vec::new(),
        client: Vec::new(),
        skip_verify: false,
        headers: HeaderMap::new(),
        dial_timeout: None,
        namespace,
        configured: false,
        file: PathBuf::new(),
    }
}

/// Whether the address is another host than the registry's own.
fn stands_in(base: &Url, registry: &str) -> bool {
    let host = base.host_str().unwrap_or("");
    let with_port = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let default = match base.scheme() {
        "http" => "80",
        _ => "443",
    };
    let same = registry.eq_ignore_ascii_case(&with_port)
        || registry.eq_ignore_ascii_case(&format!("{host}:{default}"))
        || (registry == "docker.io" && with_port == "registry-1.docker.io");
    !same
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
