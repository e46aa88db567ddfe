//! A container: what was asked for, and its states.

use crate::idmap::IdMapping;
use crate::limits::Resources;
use crate::path::AbsPath;
use crate::security::SecurityContext;
use crate::signal::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of a container within its sandbox (CRI `ContainerMetadata`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Name.
    pub name: String,
    /// How often the container was created anew.
    pub attempt: u32,
}

/// The image of a container (CRI `ImageSpec`), kept verbatim for the status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageSpec {
    /// A reference, a digest or an image id.
    pub image: String,
    /// What the user wrote.
    pub user_specified_image: String,
    /// CRI `runtime_handler` of the image; stored.
    pub runtime_handler: String,
    /// Stored.
    pub annotations: BTreeMap<String, String>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// CRI `MountPropagation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// `rprivate`.
    #[default]
    Private,
    /// `rslave`.
    HostToContainer,
    /// `rshared`.
    Bidirectional,
}

/// A path of the host, or an image, in a container (CRI `Mount`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Where it is in the container.
    pub container_path: AbsPath,
    /// What it is of the host; `None` for an image.
    #[serde(with = "crate::path::or_empty")]
    pub host_path: Option<AbsPath>,
    /// Read-only.
    pub readonly: bool,
    /// Read-only with everything mounted below.
    pub recursive_read_only: bool,
    /// Propagation.
    pub propagation: Propagation,
    /// Gives the files the container's SELinux label.
    pub selinux_relabel: bool,
    /// How the user ids of the files appear in the container; empty: unchanged.
    pub uid_mappings: Vec<IdMapping>,
    /// How their group ids do.
    pub gid_mappings: Vec<IdMapping>,
    /// An image in place of a host path.
    pub image: Option<ImageSpec>,
    /// A directory of that image; empty: all of it.
    pub image_sub_path: String,
    /// More options of the mount: `noexec`, `nodev`, `nosuid`.
    pub options: Vec<String>,
}

/// A device of the host, or a directory of them, in a container (CRI `Device`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Device {
    /// Where it is in the container.
    pub container_path: AbsPath,
    /// Where it is on the host.
    pub host_path: AbsPath,
    /// What the container may do with it: some of `r`, `w` and `m` (mknod).
    pub permissions: String,
}

/// Everything that CreateContainer was asked for (CRI `ContainerConfig`), already validated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Name within the sandbox.
    pub metadata: ContainerMetadata,
    /// The image.
    pub image: ImageSpec,
    /// Replaces the image's entrypoint (and its cmd) when not empty.
    pub command: Vec<String>,
    /// Replaces the image's cmd when not empty.
    pub args: Vec<String>,
    /// `None`: the image's, else `/`.
    #[serde(with = "crate::path::or_empty")]
    pub working_dir: Option<AbsPath>,
    /// Added to the image's; the last of a name wins.
    pub envs: Vec<KeyValue>,
    /// Mounts in the order given.
    pub mounts: Vec<Mount>,
    /// Devices of the host, in the order given.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Qualified names (`vendor/class=device`) of devices by the Container Device Interface.
    #[serde(default)]
    pub cdi_devices: Vec<String>,
    /// Verbatim.
    pub labels: BTreeMap<String, String>,
    /// Verbatim; never control input.
    pub annotations: BTreeMap<String, String>,
    /// Relative to the sandbox's log directory; empty: output is discarded.
    pub log_path: String,
    /// Keeps stdin open for an attach.
    pub stdin: bool,
    /// Closes stdin after the first attached client leaves.
    pub stdin_once: bool,
    /// Runs on a pseudo terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Security.
    pub security: SecurityContext,
    /// Replaces the image's; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal, when one ended it.
    pub signal: Option<i32>,
    /// Whether the kernel's OOM killer ended one of its processes and it died of that.
    pub oom_killed: bool,
    /// Unix time in nanoseconds.
    pub finished_at: i64,
    /// `Completed`, `Error`, `OOMKilled` or `StartError` (what the kubelet shows).
    pub reason: String,
    /// More for people; empty for most.
    pub message: String,
}

/// CRI `ContainerState`, with the data that each state has.
///
/// ```text
/// Created ──started──▶ Running ──exited──▶ Exited ──remove──▶ (gone)
///    └───────────── exited (start failed, or killed before) ──▲
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Its process waits for `go`.
    Created,
    /// Its process runs.
    Running {
        /// Unix time in nanoseconds.
        started_at: i64,
    },
    /// Its process is gone.
    Exited {
        /// Unix time in nanoseconds; 0 when it never started.
        started_at: i64,
        /// How it ended.
        exit: Exit,
    },
}

/// What can happen to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Its process runs since this Unix time in nanoseconds.
    Started(i64),
    /// Its process ended.
    Exited(Exit),
}

/// An event that a state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a container that is {state} cannot take the event {event}")]
pub struct InvalidTransition {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl ContainerState {
    /// The name that people read.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited { .. } => "exited",
        }
    }

    /// The state in a few words; of a container that has ended also how, and why where somebody said so.
    pub fn describe(&self) -> String {
        let Self::Exited { exit, .. } = self else { return self.name().to_owned() };
        let ended = format!("exited ({}, exit code {})", exit.reason, exit.code);
        if exit.message.is_empty() { ended } else { format!("{ended}: {}", exit.message) }
    }

    /// The state after the event.
    ///
    /// # Errors
    /// When the state does not allow the event: a second start, or anything after an exit.
    pub fn apply(&self, event: ContainerEvent) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::Created, ContainerEvent::Started(started_at)) => Ok(Self::Running { started_at }),
            (Self::Created, ContainerEvent::Exited(exit)) => Ok(Self::Exited { started_at: 0, exit }),
            (Self::Running { started_at }, ContainerEvent::Exited(exit)) => {
                Ok(Self::Exited { started_at: *started_at, exit })
            }
            (state, event) => Err(InvalidTransition {
                state: state.name(),
                event: match event {
                    ContainerEvent::Started(_) => "started",
                    ContainerEvent::Exited(_) => "exited",
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit {
            code: 7,
            signal: None,
            oom_killed: false,
            finished_at: 9,
            reason: "Error".into(),
            message: String::new(),
        }
    }

    #[test]
    fn every_state_and_event_pair() {
        let running = ContainerState::Running { started_at: 5 };
        let exited = ContainerState::Exited { started_at: 5, exit: exit() };
        let table = [
            (ContainerState::Created, ContainerEvent::Started(5), Some(running.clone())),
            (
                ContainerState::Created,
                ContainerEvent::Exited(exit()),
                Some(ContainerState::Exited { started_at: 0, exit: exit() }),
            ),
            (running.clone(), ContainerEvent::Started(6), None),
            (running, ContainerEvent::Exited(exit()), Some(exited.clone())),
            (exited.clone(), ContainerEvent::Started(6), None),
            (exited, ContainerEvent::Exited(exit()), None),
        ];
        for (state, event, expected) in table {
            assert_eq!(state.apply(event.clone()).ok(), expected, "{state:?} {event:?}");
        }
    }
}
