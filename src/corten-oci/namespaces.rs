//! Namespaces: those to make and those to join.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use sys::fd::namespace;

use crate::error::{Error, Result};

/// What the configuration asks for.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of those to make by the fork; the cgroup namespace comes later, in the plan.
    pub(crate) made: i32,
    /// A PID namespace to be born into.
    pub(crate) pid: Option<OwnedFd>,
    /// The others to enter.
    joined: Vec<(OwnedFd, i32)>,
}

impl Namespaces {
    /// Opens the namespaces that are named by path.
    pub(crate) fn open(spec: &Spec) -> Result<Self> {
        let mut all = Self::default();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for one in listed.into_iter().flatten() {
            let kind = one.typ();
            let flag = flag(kind);
            match one.path() {
                Some(path) => {
                    let opened: OwnedFd =
                        File::open(path).map_err(Error::io("open namespace", path.clone()))?.into();
                    if kind == LinuxNamespaceType::Pid {
                        all.pid = Some(opened);
                    } else {
                        all.joined.push((opened, flag));
                    }
                }
                None if kind == LinuxNamespaceType::Cgroup => {}
                None => all.made |= flag,
            }
        }
        Ok(all)
    }

    /// Those to enter, in order.
    pub(crate) fn joins(&self) -> Vec<(BorrowedFd<'_>, i32)> {
        self.joined.iter().map(|(opened, flag)| (opened.as_fd(), *flag)).collect()
    }

    /// Whether one of this type is made.
    pub(crate) fn makes(&self, flag: i32) -> bool {
        self.made & flag != 0
    }
}

fn flag(kind: LinuxNamespaceType) -> i32 {
    // The type's own number is the kernel's.
    kind as i32
}

/// The namespaces of a process in which the calling one is not.
pub(crate) fn foreign(pid: i32) -> Result<i32> {
    let kinds = [
        ("net", namespace::NET),
        ("ipc", namespace::IPC),
        ("uts", namespace::UTS),
        ("mnt", namespace::MOUNT),
        ("cgroup", namespace::CGROUP),
    ];
    let link = |of: &str, name: &str| -> Result<PathBuf> {
        let path = PathBuf::from(format!("/proc/{of}/ns/{name}"));
        std::fs::read_link(&path).map_err(Error::io("read", path))
    };
    let mut flags = 0;
    for (name, flag) in kinds {
        if link("self", name)? != link(&pid.to_string(), name)? {
            flags |= flag;
        }
    }
    Ok(flags)
}
