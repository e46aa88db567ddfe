//! What the runc-compatible command line asks of a launch beyond what the shim does: namespaces to join, hooks, inherited
//! descriptors, a start by another process than the parent.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use sys::fd::{self, errno};
use sys::pass::Pass;
use sys::process;

use crate::Failure;
use crate::agent::Agent;
use crate::birth::{Birth, Ending};
use crate::labels::Labels;

/// Something that the caller does at a certain point of the launch, in the child.
pub type Step<'a> = &'a dyn Fn() -> Result<(), Failure>;

/// Additions to a container's launch; the default is none.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Namespaces to enter, in this order, with their types.
    pub joins: &'a [(BorrowedFd<'a>, i32)],
    /// For an exec: namespaces of the container beside mount and cgroup in which the caller is not, `CLONE_NEW*`.
    pub foreign: i32,
    /// Set in the UTS namespace, which is the container's own; empty: kept.
    pub hostname: &'a [u8],
    /// As `hostname`, the NIS domain name.
    pub domainname: &'a [u8],
    /// The caller's session keyring is kept.
    pub keeps_keyring: bool,
    /// A listening socket: whoever connects gives the word to start, and hears how it went.
    pub start: Option<BorrowedFd<'a>>,
    /// So many descriptors from 3 on are left to the program.
    pub preserved: u32,
    /// Further descriptors that the steps need.
    pub held: &'a [BorrowedFd<'a>],
    /// For an exec: a connection to the agent that its filter asks.
    pub agent: Option<BorrowedFd<'a>>,
    /// The root is moved over the old one, where pivot_root(2) does not work.
    pub no_pivot: bool,
    /// Stdio is somebody else's: a stream that cannot be given to the container's user stays as it is.
    pub foreign_stdio: bool,
    /// When everything is mounted, still in the host's tree.
    pub before_pivot: Option<Step<'a>>,
    /// As the container's user, just before its program.
    pub before_exec: Option<Step<'a>>,
}

impl<'a> Extras<'a> {
    /// Enters the namespaces that are not made anew.
    pub(super) fn join(&self) -> Result<(), Failure> {
        for (namespace, kind) in self.joins {
            process::enter(*namespace, *kind)?;
        }
        Ok(())
    }

    /// The descriptors that outlive the clearing up at the start of a launch.
    pub(super) fn kept(&self, status: RawFd) -> Vec<RawFd> {
        let preserved = (3..).take(usize::try_from(self.preserved).unwrap_or(0));
        let held = self.held.iter().chain(&self.start).chain(&self.agent).map(AsRawFd::as_raw_fd);
        preserved.chain(held).chain([status]).collect()
    }

    /// Sets the names of the UTS namespace.
    pub(super) fn name_host(&self) -> Result<(), Failure> {
        if !self.hostname.is_empty() {
            process::set_hostname(self.hostname)?;
        }
        if !self.domainname.is_empty() {
            process::set_domainname(self.domainname)?;
        }
        Ok(())
    }

    /// The caller's step before the root changes.
    pub(super) fn before_pivot(&self) -> Result<(), Failure> {
        self.before_pivot.map_or(Ok(()), |step| step())
    }

    pub(super) fn ending(
        &self,
        status: &'a OwnedFd,
        labels: Labels,
        agent: Option<Agent>,
        birth: Option<Birth<'a>>,
    ) -> Result<Ending<'a>, Failure> {
        Ok(Ending {
            first_closed: 3 + self.preserved,
            last_step: self.before_exec,
            labels,
            agent,
            status: status.as_fd(),
            birth,
            pass: Pass::new()?,
            awaits_word: false,
        })
    }

    /// Gives a stream to the container's user, so that `/dev/stdout` can be opened by it.
    pub(super) fn give(&self, stream: &OwnedFd, owner: (u32, u32)) -> Result<(), Failure> {
        if self.foreign_stdio && fd::identity(stream)?.is_char_device(1, 3) {
            return Ok(());
        }
        match fd::set_owner(stream, owner.0, owner.1) {
            Err(error)
                if self.foreign_stdio
                    && matches!(error.errno, errno::EPERM | errno::EINVAL | errno::EROFS) =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }
}
