//! Forks: into which namespaces and cgroup a container's child is born, and with what ends of pipes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag, namespace};
use sys::process::{Child, Forked};
use sys::{SysResult, fd, process, resolve, socket};
use wire::plan::{ContainerPlan, IdMaps, PidNamespace};

use crate::shim::Shim;
use launch::{ContainerChild, Joining, may_leave_early, run_container};

/// The child's and the shim's ends of everything that connects them.
pub(crate) struct Ends {
    pub(crate) status: (OwnedFd, OwnedFd),
    pub(crate) stdin: Option<(OwnedFd, OwnedFd)>,
    pub(crate) output: Option<[(OwnedFd, OwnedFd); 2]>,
}

impl Ends {
    pub(crate) fn new(plan: &ContainerPlan) -> SysResult<Self> {
        Ok(Self {
            status: socket::message_pair()?,
            stdin: if plan.stdio.stdin && !plan.stdio.tty { Some(fd::pipe()?) } else { None },
            output: if plan.stdio.tty { None } else { Some([fd::pipe()?, fd::pipe()?]) },
        })
    }
}

impl Shim {
    /// Forks the child that builds a container, with the ends that are its own.
    pub(crate) fn fork_container(
        &self,
        plan: &ContainerPlan,
        ends: Ends,
        joining: Option<Joining<'_>>,
    ) -> SysResult<(Child, Ends)> {
        if let Some(runtime) = &plan.runtime {
            let output = ends.output.as_ref();
            let stdio = [
                ends.stdin.as_ref().map(|(reader, _)| reader),
                output.map(|[out, _]| &out.1),
                output.map(|[_, err]| &err.1),
            ];
            return Ok((self.fork_create(plan, runtime, &ends.status.1, stdio)?, ends));
        }
        let null = self.null()?;
        let bare = self.bare.as_ref().filter(|_| may_leave_early(plan));
        let mut namespaces = if bare.is_some() { 0 } else { namespace::MOUNT };
        let userns = if plan.ids.is_empty() { None } else { Some(self.userns(&plan.ids)?) };
        // A user namespace's own are made inside of it.
        if plan.pid_namespace == PidNamespace::New && userns.is_none() {
            namespaces |= namespace::PID;
        }
        let (forked, joined_v2) = self.fork(namespaces, plan.cgroup.v2.as_deref())?;
        match forked {
            Forked::Child => run_container(&ContainerChild {
                plan,
                status: &ends.status.1,
                stdin: ends.stdin.as_ref().map(|(reader, _)| reader),
                output: ends.output.as_ref().map_or([None; 2], |[out, err]| [Some(&out.1), Some(&err.1)]),
                null: Some(null),
                joined_v2,
                extras: launch::Extras::default(),
                userns,
                single: &self.single,
                bare: bare.map(AsFd::as_fd),
                joining,
            }),
            Forked::Parent(child) => {
                if let Some(joining) = joining {
                    // What is forked next belongs to others.
                    joining.successor.withhold()?;
                }
                Ok((child, ends))
            }
        }
    }

    /// The pod's user namespace, when it is the one that a plan was made for.
    pub(crate) fn userns(&self, ids: &IdMaps) -> SysResult<BorrowedFd<'_>> {
        let known = self.sandbox.as_ref().and_then(|sandbox| sandbox.userns.as_ref());
        match known {
            Some((known, userns)) if known == ids => Ok(userns.as_fd()),
            _ => Err(sys::SysError::new("enter user namespace", "of the pod", errno::EINVAL)),
        }
    }

    /// Forks into new namespaces and a v2 cgroup where that is possible (else `false`: the child joins by itself).
    pub(crate) fn fork(&self, namespaces: i32, cgroup: Option<&[u8]>) -> SysResult<(Forked, bool)> {
        let dir = cgroup.map(|dir| resolve::open(dir, flag::O_PATH | flag::O_DIRECTORY)).transpose()?;
        if let Some(dir) = &dir {
            match process::fork(&self.single, namespaces, Some(dir.as_fd())) {
                // Filtered, too old, or a cgroup that takes processes only from within: the child will see.
                Err(error) if !matches!(error.errno, errno::EAGAIN | errno::ENOMEM) => {}
                other => return other.map(|forked| (forked, true)),
            }
        }
        process::fork(&self.single, namespaces, None).map(|forked| (forked, false))
    }
}
