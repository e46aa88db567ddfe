//! Image references: `busybox` and `host:5000/team/app:1@sha256:…`, normalised as Docker and the kubelet do.

use crate::digest::{Digest, DigestError, is_hex64};
use std::fmt;

/// Where an image is: a registry, a repository in it, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What is wrong with a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Over 255 bytes of registry and repository, or over 512 in all.
    #[error("it is too long: registry and repository may have 255 characters together")]
    TooLong,
    /// 64 hexadecimal digits are an id, not a name.
    #[error("64 hexadecimal digits are an image id, which cannot be pulled")]
    Id,
    /// An address of the web, or a transport of other tools.
    #[error("it is a URL, and an image has none: write {0:?}")]
    Url(String),
    /// A host with a character or form that no host has.
    #[error("registry {0:?} is not a host with an optional port")]
    Registry(String),
    /// A port outside 1 to 65535.
    #[error("registry {0:?} has no valid port")]
    Port(String),
    /// A space, a tab or a line break.
    #[error("{0:?} contains a space, which no name of an image has")]
    Space(String),
    /// Upper case in the repository.
    #[error("repository {0:?} must be lower case")]
    UpperCase(String),
    /// A path component that the grammar does not have.
    #[error(
        "repository component {0:?} is not made of lower-case letters and digits, separated by one dot, one or two underscores, or dashes"
    )]
    Component(String),
    /// A tag that the grammar does not have.
    #[error(
        "tag {0:?} is not 1 to 128 letters, digits, underscores, dots and dashes (starting with none of the last two)"
    )]
    Tag(String),
    /// A digest that is none.
    #[error("{0}")]
    Digest(#[from] DigestError),
}

/// The registry that a name without a host means.
const DOCKER: &str = "docker.io";

impl Reference {
    /// Parses and normalises a reference: a name without a host is Docker Hub's, one without a slash is in
    /// `library/`, one without tag and digest means `latest`. A tag beside a digest is dropped: the digest
    /// alone says what is pulled (as containerd does).
    ///
    /// # Errors
    /// What exactly the grammar does not allow.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > 512 {
            return Err(ReferenceError::TooLong);
        }
        if is_hex64(text) {
            return Err(ReferenceError::Id);
        }
        if let Some((_, rest)) = text.split_once("://") {
            return Err(ReferenceError::Url(shown(&without_scheme(rest))));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if name.contains(char::is_whitespace) {
            return Err(ReferenceError::Space(shown(name)));
        }
        let tag = tag.map(check_tag).transpose()?;
        let (registry, repository) = split_registry(name)?;
        if registry.len() + repository.len() + 1 > 255 {
            return Err(ReferenceError::TooLong);
        }
        repository.split('/').try_for_each(check_component)?;
        let tag = match (&digest, tag) {
            (Some(_), _) => None,
            (None, Some(tag)) => Some(tag),
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// Host and optional port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Whether the registry is one for its upper case alone, which a repository cannot have: most often a mistyped name.
    pub(crate) fn has_upper_case_host(&self) -> bool {
        !self.registry.contains(['.', ':', '['])
            && self.registry.bytes().any(|byte| byte.is_ascii_uppercase())
    }

    /// The tag; `None` exactly when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What follows `/manifests/` in the registry's API.
    pub(crate) fn target(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// Registry and repository.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The repo digest of a manifest in this repository.
    pub(crate) fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.digest.is_some() { '@' } else { ':' };
        write!(f, "{}/{}{separator}{}", self.registry, self.repository, self.target())
    }
}

/// What to write in the place of a URL: the pages of Docker Hub are no registry.
fn without_scheme(rest: &str) -> String {
    let name = rest.trim_end_matches('/');
    if let Some(official) = name.strip_prefix("hub.docker.com/_/") {
        return format!("{DOCKER}/library/{official}");
    }
    name.strip_prefix("hub.docker.com/r/").map_or_else(|| name.to_owned(), |name| format!("{DOCKER}/{name}"))
}

/// A tag is what follows the last colon, unless a slash comes after it (then the colon is a port's).
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_registry(name: &str) -> Result<(String, String), ReferenceError> {
    if let Some((host, rest)) = name.split_once('/') {
        let is_host = host.contains(['.', ':', '['])
            || host == "localhost"
            || host.bytes().any(|byte| byte.is_ascii_uppercase());
        if is_host {
            check_host(host)?;
            if host == DOCKER || host == "index.docker.io" {
                return Ok((DOCKER.to_owned(), docker_repository(rest)));
            }
            return Ok((host.to_owned(), rest.to_owned()));
        }
    }
    Ok((DOCKER.to_owned(), docker_repository(name)))
}

fn docker_repository(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("library/{name}") }
}

fn check_host(host: &str) -> Result<(), ReferenceError> {
    let bad = || ReferenceError::Registry(shown(host));
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(bad)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
        match after {
            "" => (None, None),
            _ => (None, Some(after.strip_prefix(':').ok_or_else(bad)?)),
        }
    } else {
        match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        }
    };
    if let Some(name) = name
        && !name.split('.').all(is_host_label)
    {
        return Err(bad());
    }
    if let Some(port) = port
        && (port.is_empty()
            || !port.bytes().all(|byte| byte.is_ascii_digit())
            || !port.parse::<u16>().is_ok_and(|port| port > 0))
    {
        return Err(ReferenceError::Port(shown(host)));
    }
    Ok(())
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check_component(component: &str) -> Result<(), ReferenceError> {
    if component.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(shown(component)));
    }
    let bad = || ReferenceError::Component(shown(component));
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if alphanumeric(*first) && alphanumeric(*last) => {}
        _ => return Err(bad()),
    }
    // What stands between two alphanumeric runs must be one of the separators.
    for separator in component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        let dashes = separator.bytes().all(|byte| byte == b'-');
        if !(dashes || matches!(separator, "." | "_" | "__")) {
            return Err(bad());
        }
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<String, ReferenceError> {
    let valid = (1..=128).contains(&tag.len())
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-']);
    if valid { Ok(tag.to_owned()) } else { Err(ReferenceError::Tag(shown(tag))) }
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
