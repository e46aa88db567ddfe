//! The failures of this crate.

use model::ErrorKind;
use std::io;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type OciResult<T> = Result<T, OciError>;

/// Why a spec, a plan or a cgroup could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The request or the image asks for something impossible.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field of the request, in the CRI's spelling, or `image config …`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What an adjuster of specs says.
    #[error("adjusting the spec by {adjuster}")]
    Adjuster {
        /// Its name.
        adjuster: &'static str,
        /// Why it refuses.
        source: Box<OciError>,
    },
    /// What a request asks for is right, and the node lacks what it takes, or has it wrong.
    #[error(transparent)]
    Node(Box<OciError>),
    /// Neither the image nor the request says what to run.
    #[error("no command: the image has no entrypoint or cmd, and the request has no command or args")]
    NoCommand,
    /// A path that the request names does not exist on the host.
    #[error("{field}: {}: {source}", path.display())]
    Missing {
        /// The field of the request.
        field: String,
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A recursive read-only mount on a kernel before 5.12; the kubelet knows the first word (cri-api `pkg/errors`).
    #[error(
        "RROUnsupported: {field}: the kernel cannot make whole trees of mounts read-only (needs Linux 5.12)"
    )]
    NoRecursiveReadOnly {
        /// The field of the request.
        field: String,
    },
    /// A user or group name that the image does not know.
    #[error("{what} {name:?} is not in the image's {file}")]
    UnknownName {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// The file that was searched.
        file: &'static str,
    },
    /// A file of the image that may not be read: too large, not a regular file, or too many links.
    #[error("{} of the image: {reason}", path.display())]
    ImageFile {
        /// The path in the image.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The host has no cgroup hierarchy that can be used.
    #[error("no usable cgroup hierarchy is mounted")]
    NoCgroups,
    /// A limit needs a controller that the host does not have.
    #[error("{field}: the host has no {controller} cgroup controller")]
    NoController {
        /// The field of the request.
        field: &'static str,
        /// The controller.
        controller: String,
    },
    /// A new memory limit is below what is in use.
    #[error(
        "linux.resources.memory_limit_in_bytes: the limit of {limit} bytes is below the {usage} bytes in use, which cannot be reclaimed"
    )]
    BelowUsage {
        /// The limit asked for.
        limit: u64,
        /// Bytes in use.
        usage: u64,
    },
    /// A cgroup stayed busy for as long as a removal waits.
    #[error("cgroup {} is still busy, with processes in it: {processes}", path.display())]
    CgroupBusy {
        /// The directory.
        path: PathBuf,
        /// How many processes it holds.
        processes: usize,
    },
    /// An SELinux policy that does not say what containers are.
    #[error("{}: no label under {key:?}", path.display())]
    PolicyContexts {
        /// The file of the policy.
        path: PathBuf,
        /// What is looked for in it.
        key: String,
    },
    /// All pairs of SELinux categories are in use.
    #[error("no pair of SELinux categories is free")]
    NoLevel,
    /// A seccomp profile that is not understood.
    #[error("seccomp profile: {reason}")]
    Profile {
        /// What is wrong with it.
        reason: String,
    },
    /// A seccomp profile that is not JSON of the known form.
    #[error("seccomp profile: {source}")]
    ProfileSyntax {
        /// Where and why.
        #[from]
        source: serde_json::Error,
    },
    /// A builder of the spec's types found a field missing.
    #[error(transparent)]
    Spec(#[from] oci_spec::OciSpecError),
    /// A system call failed.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call failed, from the crate of system calls.
    #[error(transparent)]
    Sys(#[from] sys::SysError),
}

impl OciError {
    /// A field that asks for something impossible.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// The same where it is the node that has to be mended, and not the request.
    #[must_use]
    pub(crate) fn of_node(self) -> Self {
        match self {
            of_node @ Self::Node(_) => of_node,
            other => Self::Node(Box::new(other)),
        }
    }

    /// The same of what an annotation or a setting asks for, with its name; failures of the host stay as they are.
    #[must_use]
    pub(crate) fn named(self, name: &str) -> Self {
        match self {
            Self::Node(_) => Self::invalid(name, self.to_string()).of_node(),
            Self::Invalid { .. } => Self::invalid(name, self.to_string()),
            other => other,
        }
    }

    /// For `map_err` on values: what the field holds is not one.
    pub(crate) fn value(field: &'static str) -> impl FnOnce(model::ValueError) -> Self {
        move |error| Self::invalid(field, error.to_string())
    }

    /// For `map_err` on system calls.
    pub(crate) fn io<E: Into<io::Error>>(
        op: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { op, path, source: source.into() }
    }

    /// The kind, for the gRPC edge.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Adjuster { source, .. } => source.kind(),
            Self::Invalid { .. }
            | Self::NoCommand
            | Self::Missing { .. }
            | Self::UnknownName { .. }
            | Self::ImageFile { .. }
            | Self::NoController { .. }
            | Self::NoRecursiveReadOnly { .. }
            | Self::Profile { .. }
            | Self::ProfileSyntax { .. } => ErrorKind::InvalidArgument,
            Self::Node(_)
            | Self::NoCgroups
            | Self::BelowUsage { .. }
            | Self::PolicyContexts { .. }
            | Self::NoLevel => ErrorKind::FailedPrecondition,
            Self::CgroupBusy { .. } | Self::Spec(_) | Self::Io { .. } | Self::Sys(_) => ErrorKind::Internal,
        }
    }
}
