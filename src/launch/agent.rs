//! Loading a filter that asks an agent: its listener is handed over before any call can be asked about.
//!
//! From the moment at which the filter is in force, a call of this thread may wait for the agent, which knows nothing
//! yet, or be refused altogether. So a helper thread, which the filter does not bind, hands the listener over, and this
//! one waits for it without any call. The helper ends with exec at the latest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sys::fd::errno;
use sys::{SysError, fd, privilege, socket};
use wire::plan::ProcessPlan;

use crate::{Failure, channel};

/// The helper's needs are modest.
const STACK: usize = 64 << 10;
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// What an agent will be told: who asks. To be made while the host's procfs is in sight.
pub(super) struct Handover {
    message: Vec<u8>,
}

impl Handover {
    /// `None` for a process whose filter asks nobody.
    pub(super) fn new(plan: &ProcessPlan) -> Result<Option<Self>, Failure> {
        let Some(agent) = &plan.seccomp_agent else { return Ok(None) };
        let own = std::fs::read_link("/proc/self").map_err(SysError::io("read", "/proc/self"))?;
        let own = own.as_os_str().as_encoded_bytes();
        let mut message = [&agent.before_pid, own, &agent.between_pids].concat();
        if !agent.after_pids.is_empty() {
            message.extend_from_slice(own);
            message.extend_from_slice(&agent.after_pids);
        }
        Ok(Some(Self { message }))
    }

    /// Over this connection.
    pub(super) fn over(self, socket: Option<OwnedFd>) -> Agent {
        Agent { socket, message: self.message }
    }
}

/// The agent of a process.
pub(super) struct Agent {
    socket: Option<OwnedFd>,
    message: Vec<u8>,
}

/// Between the two threads.
struct Shared {
    /// What came of loading.
    listener: OnceLock<Option<OwnedFd>>,
    handed_over: AtomicBool,
}

impl Agent {
    /// Loads the filter and hands its listener over. In a process of one thread, shortly before exec.
    pub(super) fn load(&self, plan: &ProcessPlan, status: BorrowedFd<'_>) -> Result<(), Failure> {
        let unconnected = || Failure::setup(errno::ESRCH, "hand over the seccomp listener".to_owned());
        let agent = fd::duplicate(self.socket.as_ref().ok_or_else(unconnected)?.as_fd())?;
        let (status, message) = (fd::duplicate(status)?, self.message.clone());
        // Never freed, as that could be a system call: exec does.
        let shared: &'static Shared =
            Box::leak(Box::new(Shared { listener: OnceLock::new(), handed_over: AtomicBool::new(false) }));
        let helper = std::thread::Builder::new().stack_size(STACK);
        let helper = helper.spawn(move || hand_over(shared, &agent, &message, status.as_fd()));
        drop(helper.map_err(SysError::io("start the helper of the seccomp filter", ""))?);
        let loaded = privilege::load_seccomp(&plan.seccomp, plan.seccomp_flags);
        let (listener, result) = match loaded {
            Ok(listener) => (listener, Ok(())),
            Err(error) => (None, Err(error.into())),
        };
        // Set once only: nothing is given back that would have to be closed.
        let _ = shared.listener.set(listener);
        while !shared.handed_over.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        result
    }
}

/// The helper: waits for the listener and sends it. When it cannot, the whole process ends.
fn hand_over(shared: &Shared, agent: &OwnedFd, message: &[u8], status: BorrowedFd<'_>) {
    let listener = loop {
        match shared.listener.get() {
            None => std::thread::sleep(LOOK_AGAIN),
            Some(listener) => break listener,
        }
    };
    let sent =
        listener.as_ref().map_or(Ok(()), |one| socket::send(agent.as_fd(), message, Some(one.as_fd())));
    match sent {
        Ok(()) => shared.handed_over.store(true, Ordering::Release),
        Err(error) => {
            let failure = Failure {
                message: format!("hand over the seccomp listener: {error}"),
                ..Failure::from(error)
            };
            // When the shim is gone nobody is left to tell.
            let _ = channel::send_failure(status, &failure);
            sys::process::exit(1)
        }
    }
}
