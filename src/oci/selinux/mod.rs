//! SELinux: the labels of a container's process and files, made of what the host's policy says about containers, what a
//! request says, and categories that a pod shares with no other (MCS).
//!
//! As with containerd, what a request says is void on a host without SELinux. On a host with it, where the operator has
//! not switched labels on, a label that is asked for is refused: nothing would come of it.

mod level;
mod relabel;
#[cfg(test)]
mod tests;

pub use level::{Levels, Reserved};
pub use relabel::{check_mounts, field, relabel, set_label};

use crate::error::{OciError, OciResult};
use model::Selinux;
use std::path::Path;

/// selinuxfs has this wherever the kernel enforces or watches by SELinux.
const ENFORCE: &str = "sys/fs/selinux/enforce";
/// Which policy is in force.
const CONFIG: &str = "etc/selinux/config";
const POLICIES: &str = "etc/selinux";
/// What a policy says about containers, below its directory.
const CONTEXTS: &str = "contexts/lxc_contexts";

const FIELD: &str = "linux.security_context.selinux_options";

/// What the host makes of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// The host has no SELinux.
    Absent,
    /// It has, and containers are not labelled.
    Unused,
    /// Containers are labelled.
    InForce(Defaults),
}

/// What a policy gives containers that ask for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    process: Label,
    file: Label,
}

/// A label in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    user: String,
    role: String,
    kind: String,
    level: String,
}

/// What a container and its files are labelled with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Of its processes; empty: what the policy makes of the runtime's.
    pub process: String,
    /// Of its root and of its own filesystems; empty: none.
    pub mount: String,
}

impl Policy {
    /// Finds out, by files below `root`; `enabled` is the operator's choice.
    ///
    /// # Errors
    /// [`OciError::Io`] or [`OciError::PolicyContexts`] when the policy says nothing about containers.
    pub fn detect(root: &Path, enabled: bool) -> OciResult<Self> {
        match (root.join(ENFORCE).exists(), enabled) {
            (false, _) => Ok(Self::Absent),
            (true, false) => Ok(Self::Unused),
            (true, true) => Defaults::read(root).map(Self::InForce),
        }
    }

    /// Whether containers are labelled.
    pub fn is_in_force(&self) -> bool {
        matches!(self, Self::InForce(_))
    }

    /// Refuses what a request says about labels where it cannot be kept.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming the field.
    pub fn check(&self, request: Option<&Selinux>) -> OciResult<()> {
        match (self, request) {
            (Self::Unused, Some(_)) => Err(OciError::invalid(
                FIELD,
                "labels are switched off (runtime.selinux), and this host has SELinux",
            )),
            (Self::InForce(_), Some(request)) if !level::is_valid(&request.level) => {
                Err(OciError::invalid(format!("{FIELD}.level"), format!("{:?} is no level", request.level)))
            }
            _ => Ok(()),
        }
    }

    /// The labels of a container, or of the pod itself: the policy's defaults, with what the pod asks for, then what the
    /// container asks for, in the categories of the pod unless others are asked for. A privileged container's processes
    /// have no label of their own, as with containerd.
    pub fn labels(&self, level: &str, requests: &[Option<&Selinux>], privileged: bool) -> Labels {
        let Self::InForce(defaults) = self else { return Labels::default() };
        let (mut process, mut mount) = (defaults.process.clone(), defaults.file.clone());
        if !level.is_empty() {
            process.level = level.to_owned();
        }
        for request in requests.iter().flatten() {
            process.merge(request);
        }
        mount.level.clone_from(&process.level);
        // The user goes with the files, role and type are those of files.
        mount.user.clone_from(&process.user);
        Labels {
            process: if privileged { String::new() } else { process.to_string() },
            mount: mount.to_string(),
        }
    }
}

impl Defaults {
    fn read(root: &Path) -> OciResult<Self> {
        let config = root.join(CONFIG);
        let text = std::fs::read_to_string(&config).map_err(OciError::io("read", &config))?;
        let name = value(&text, "SELINUXTYPE").unwrap_or("targeted");
        let contexts = root.join(POLICIES).join(name).join(CONTEXTS);
        let text = std::fs::read_to_string(&contexts).map_err(OciError::io("read", &contexts))?;
        let label = |key: &str| {
            let found = value(&text, key).and_then(Label::parse);
            found.ok_or_else(|| OciError::PolicyContexts { path: contexts.clone(), key: key.to_owned() })
        };
        Ok(Self { process: label("process")?, file: label("file")? })
    }
}

/// `KEY = "value"`, with or without the quotes.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = |line: &'a str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"'))
    };
    text.lines().find_map(line)
}

impl Label {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let label = Self {
            user: parts.next()?,
            role: parts.next()?,
            kind: parts.next()?,
            // A policy without MLS has none.
            level: parts.next().unwrap_or_default(),
        };
        let whole = !label.user.is_empty() && !label.role.is_empty() && !label.kind.is_empty();
        whole.then_some(label)
    }

    /// What is asked for takes the place of what was.
    fn merge(&mut self, request: &Selinux) {
        let parts = [
            (&mut self.user, &request.user),
            (&mut self.role, &request.role),
            (&mut self.kind, &request.kind),
            (&mut self.level, &request.level),
        ];
        for (part, asked) in parts {
            if !asked.is_empty() {
                part.clone_from(asked);
            }
        }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        if self.level.is_empty() { Ok(()) } else { write!(f, ":{}", self.level) }
    }
}
