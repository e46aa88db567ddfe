//! The last part of a launch, common to containers and execs, and the process that takes the launching one's place.
//!
//! What appears in a container's PID namespace can be traced there by whoever has `CAP_SYS_PTRACE`: its memory, its
//! descriptors and its root are the tracer's. So a process that joins one is made ready outside of it, down to its
//! user, its capabilities and its root, and only then forks its successor into it, which has nothing to give.
//!
//! For that moment there are two where one was to be. Where a cgroup holds as many as it may, whoever supervises the
//! launch takes the first out of it and the second in ([`crate::room`]).

use std::cell::Cell;
use std::os::fd::BorrowedFd;

use sys::SysResult;
use sys::fd::{errno, namespace};
use sys::pass::{Call, Pass};
use sys::process::{self, SingleThread, Successor};
use wire::plan::ProcessPlan;

use crate::agent::{Agent, Handing};
use crate::extras::Step;
use crate::labels::Labels;
use crate::{Failure, channel};

/// The last part of a launch.
pub(super) struct Ending<'a> {
    /// Descriptors from this number on are closed.
    pub(super) first_closed: u32,
    /// Done with all privileges dropped.
    pub(super) last_step: Option<Step<'a>>,
    /// Taken on by exec.
    pub(super) labels: Labels,
    /// Gets the filter's listener.
    pub(super) agent: Option<Agent>,
    /// The status channel.
    pub(super) status: BorrowedFd<'a>,
    /// For a process that joins a PID namespace.
    pub(super) birth: Option<Birth<'a>>,
    /// For its calls under the filter.
    pub(super) pass: Pass,
    /// Everything but exec is done before the word to start, which this process still waits for.
    pub(super) awaits_word: bool,
}

impl Ending<'_> {
    /// The filter is loaded by the process that ends, in the successor's place: who appears without one can be made to
    /// call what the filter forbids, and an agent is told of it from outside.
    pub(super) fn loads_early(&self) -> bool {
        self.birth.is_some()
    }

    /// What is loaded: with what is still to be done let through.
    pub(super) fn filter(&self, plan: &ProcessPlan) -> Vec<u8> {
        let mut further = Vec::new();
        if self.awaits_word {
            further.push(Call::Word);
        }
        if let Some(birth) = &self.birth {
            let control = birth.tty.then_some(Call::Control);
            let wait = self.agent.is_some().then_some(Call::Wait);
            further.extend([Call::Succeed, Call::Word].into_iter().chain(control).chain(wait));
        }
        self.pass.before(&plan.seccomp, &further)
    }

    /// Tells the shim why, and ends, whatever the filter thinks of it.
    pub(super) fn fail(&self, failure: &Failure) -> ! {
        // When the shim is gone nobody is left to tell.
        let _ = self.pass.send(self.status, &channel::failure(failure));
        self.pass.exit(1)
    }
}

/// How a process appears in the PID namespace that it has entered for its children.
pub(super) struct Birth<'a> {
    /// This process has one thread that matters.
    pub(super) single: &'a SingleThread,
    /// Where the new one's number goes.
    pub(super) successor: &'a Successor,
    /// Stdio is a terminal, to be its controlling one.
    pub(super) tty: bool,
    /// A process of the PID namespace, where that is yet to be entered.
    pub(super) pids: Option<BorrowedFd<'a>>,
    /// This process is outside of the cgroup whose limit of processes counts, so that the new one has to be taken in.
    pub(super) outside: Cell<bool>,
}

impl Birth<'_> {
    /// Enters the PID namespace for the children of this process.
    pub(super) fn enter(&self) -> SysResult<()> {
        self.pids.map_or(Ok(()), |pids| process::enter(pids, namespace::PID))
    }

    /// Returns in the successor; this process ends once nothing depends on it any more.
    pub(super) fn take_place(
        &self,
        pass: &Pass,
        status: BorrowedFd<'_>,
        handing: Option<Handing>,
    ) -> Result<(), Failure> {
        if !self.fork(pass, status)? {
            if let Some(handing) = handing {
                handing.wait_for(self.successor);
            }
            pass.exit(0);
        }
        if self.outside.get() && !channel::ask_for_room(pass, status) {
            return Err(Failure::setup(errno::EAGAIN, "enter the cgroup: it is full".to_owned()));
        }
        if let Some(handing) = handing {
            handing.succeed(pass);
        }
        pass.new_session()?;
        if self.tty {
            pass.set_controlling()?;
        }
        Ok(())
    }

    fn fork(&self, pass: &Pass, status: BorrowedFd<'_>) -> Result<bool, Failure> {
        match self.successor.fork(self.single, pass) {
            Err(error) if error.errno == errno::EAGAIN && self.leave(pass, status) => {
                Ok(self.successor.fork(self.single, pass)?)
            }
            done => Ok(done?),
        }
    }

    /// Has this process taken out of a cgroup that is full; `false` where that is not to be, or was done before.
    pub(super) fn leave(&self, pass: &Pass, status: BorrowedFd<'_>) -> bool {
        !self.outside.get() && {
            self.outside.set(channel::ask_for_room(pass, status));
            self.outside.get()
        }
    }
}
