//! Room for commands and containers that find none, as their cgroup holds as many processes as it may.

use std::os::fd::AsFd;

use sys::fd::{duplicate, errno};
use sys::process::{self, Child, Forked, SIGKILL};
use sys::{SysError, SysResult};
use wire::plan::CgroupPlan;

use crate::shim::Shim;
use launch::Birthplace;
use launch::channel;
use launch::room::{self, Room};

/// What is known of the room for a command that was just forked.
pub(crate) fn room(child: &Child, birthplace: Birthplace) -> SysResult<Room> {
    if birthplace == Birthplace::Outside {
        return Ok(Room::left_by(duplicate(child.pidfd.as_fd())?));
    }
    Ok(Room::default())
}

impl Shim {
    /// Forks a command's first process into its v2 cgroup, or outside where that is full.
    pub(crate) fn fork_beside(&self, cgroup: &CgroupPlan) -> SysResult<(Forked, Birthplace)> {
        match self.fork(0, cgroup.v2.as_deref()) {
            Ok((forked, true)) => Ok((forked, Birthplace::Place)),
            Ok((forked, false)) => Ok((forked, Birthplace::Forker)),
            Err(error) if error.errno == errno::EAGAIN && cgroup.v1.is_empty() && !self.may_be_traced() => {
                let forked = match room::outside(cgroup) {
                    Some(dir) => process::fork(&self.single, 0, Some(dir.as_fd())),
                    None => Err(error),
                };
                let forked = forked.or_else(|_| process::fork(&self.single, 0, None))?;
                Ok((forked, Birthplace::Outside))
            }
            Err(error) => Err(error),
        }
    }

    /// What is outside of its cgroup for a moment could be kept there.
    fn may_be_traced(&self) -> bool {
        self.containers.values().any(|handles| handles.place.traces)
    }

    /// A command's child asks for room.
    pub(crate) fn make_room_for_exec(&mut self, number: u64) {
        self.succeed_exec(number);
        let refused = self.may_be_traced();
        let process = self.pod.exec_process(number);
        let Some(handles) = self.execs.get_mut(&number) else { return };
        let made = match process {
            Some(pid) if !refused => handles.room.make(&handles.joined, pid, handles.successor.is_none()),
            _ => Err(SysError::new("make room in cgroup", "", errno::EAGAIN)),
        };
        if let Some(status) = &handles.status {
            // It has ended in the meantime: fine.
            let _ = channel::send_room(status.fd.as_fd(), made.is_ok());
        }
    }

    /// A container's child asks for room.
    pub(crate) fn make_room(&mut self, id: &str) {
        self.succeed(id);
        let refused = self.may_be_traced();
        let Some(handles) = self.containers.get_mut(id) else { return };
        let made = match &handles.first.child {
            Some(child) if !refused => {
                let is_successor = handles.first.successor.is_none();
                handles.first.room.make(&handles.place.cgroup, child.pid, is_successor)
            }
            _ => Err(SysError::new("make room in cgroup", "", errno::EAGAIN)),
        };
        if let Some(status) = &handles.status {
            // It has ended in the meantime: fine.
            let _ = channel::send_room(status.fd.as_fd(), made.is_ok());
        }
    }

    /// Kills what is on its way into a container whose first process has ended, and is not in there yet: the end of its
    /// PID namespace does not reach that.
    pub(crate) fn kill_launching(&mut self, id: &str) {
        for (number, process) in self.pod.execs_of(id) {
            let Some(handles) = self.execs.get(&number) else { continue };
            if handles.room.clear() || handles.successor.is_some() {
                // It is not reaped yet: the number is its own.
                let _ = process::kill(process, SIGKILL);
            }
        }
    }
}
