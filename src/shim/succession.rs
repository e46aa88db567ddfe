//! Containers that join a PID namespace in which others are already.
//!
//! Whoever has `CAP_SYS_PTRACE` in there can take from a process that appears there what it has. So such a container is
//! built outside, and waits there for its start; the process that becomes its program comes then, in the place of the one
//! that has built it.

use std::os::fd::AsFd;
use std::rc::Rc;

use launch::{Joined, Procfs};
use sys::fd::{duplicate, errno};
use sys::process::{self, Child, Successor};
use sys::{SysError, SysResult};
use wire::plan::{ContainerPlan, PidNamespace};

use crate::container::Handles;
use crate::pod::Fact;
use crate::shim::Shim;

impl Shim {
    /// The PID namespace that a container joins, where that is not the host's. A runtime finds it by itself.
    pub(crate) fn joined(&self, plan: &ContainerPlan) -> SysResult<Option<Rc<Joined>>> {
        if plan.runtime.is_some() {
            return Ok(None);
        }
        let missing = |what: &str| SysError::new("enter pid namespace", what, errno::ESRCH);
        match &plan.pid_namespace {
            PidNamespace::New | PidNamespace::Host => Ok(None),
            PidNamespace::Pod => {
                let sandbox = self.sandbox.as_ref().filter(|sandbox| sandbox.pause.is_some());
                let joined = sandbox.and_then(|sandbox| sandbox.joined.clone());
                Ok(Some(joined.ok_or_else(|| missing("of the pod"))?))
            }
            PidNamespace::Container(id) => {
                let target = self.containers.get(id).ok_or_else(|| missing(id))?;
                target.joined_by_others().map_err(|error| SysError { path: id.into(), ..error })
            }
        }
    }

    /// A container's first process is the one that has taken the builder's place, once there is one. Whatever concerns
    /// that process comes after this.
    pub(crate) fn succeed(&mut self, id: &str) {
        let Some(first) = self.containers.get_mut(id).map(|handles| &mut handles.first) else { return };
        let Some(pid) = first.successor.as_ref().and_then(Successor::pid) else { return };
        first.successor = None;
        let Some(child) = &mut first.child else { return };
        match process::pidfd_open(pid) {
            Ok(pidfd) => *child = Child { pid, pidfd },
            // It has ended, and is being reaped: nothing is sent to it any more.
            Err(_) => child.pid = pid,
        }
        self.learn(id, Fact::Succeeded(pid));
    }

    /// The same for all of them.
    pub(crate) fn succeed_all(&mut self) {
        let waiting = self.containers.iter().filter(|(_, handles)| handles.first.successor.is_some());
        let waiting: Vec<String> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.succeed(&id);
        }
    }
}

impl Handles {
    /// Its PID namespace; `None` for the host's.
    fn joined_by_others(&self) -> SysResult<Option<Rc<Joined>>> {
        let missing = || SysError::new("enter pid namespace", "", errno::ESRCH);
        let child = self.first.child.as_ref().ok_or_else(missing)?;
        if let Some(joined) = &self.place.joined {
            return Ok(Some(joined.clone()));
        }
        if self.place.on_host_pids {
            return Ok(None);
        }
        let root = self.first.root.as_ref().ok_or_else(missing)?;
        let procfs = Procfs::Of { pid: child.pid, root: duplicate(root.as_fd())? };
        Ok(Some(Rc::new(Joined { process: duplicate(child.pidfd.as_fd())?, procfs })))
    }
}
