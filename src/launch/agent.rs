//! Loading a filter that asks an agent: its listener is handed over before any call can be asked about.
//!
//! From the moment at which the filter is in force, a call of this thread may wait for the agent, which knows nothing
//! yet, or be refused altogether. So a helper thread, which the filter does not bind, hands the listener over, and this
//! one waits for it without any call. The helper ends with exec at the latest.
//!
//! Where another process is to take this one's place, it is that one that the agent is told of: the filter is loaded
//! first, and the listener handed over once the other is there, which waits for this one's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use sys::fd::errno;
use sys::pass::Pass;
use sys::process::{self, SIGKILL, Successor};
use sys::{SysError, SysResult, fd, privilege, socket};
use wire::plan::{ProcessPlan, SeccompAgent};

use crate::{Failure, channel};

/// The helper's needs are modest.
const STACK: usize = 64 << 10;
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// What an agent will be told: who asks. To be made while the host's procfs is in sight.
pub(super) struct Handover {
    plan: SeccompAgent,
    /// This process's number; 0 where that of a successor counts.
    pid: i32,
}

impl Handover {
    /// `None` for a process whose filter asks nobody.
    pub(super) fn new(plan: &ProcessPlan, is_succeeded: bool) -> Result<Option<Self>, Failure> {
        let Some(agent) = &plan.seccomp_agent else { return Ok(None) };
        let pid = if is_succeeded { 0 } else { own_pid()? };
        Ok(Some(Self { plan: agent.clone(), pid }))
    }

    /// Over this connection.
    pub(super) fn over(self, socket: Option<OwnedFd>) -> Agent {
        Agent { socket, handover: self }
    }
}

/// As the host's procfs tells it.
fn own_pid() -> SysResult<i32> {
    let own = std::fs::read_link("/proc/self").map_err(SysError::io("read", "/proc/self"))?;
    let number = own.to_str().and_then(|own| own.parse().ok());
    number.ok_or_else(|| SysError::new("read", "/proc/self", errno::EINVAL))
}

/// The agent of a process.
pub(super) struct Agent {
    socket: Option<OwnedFd>,
    handover: Handover,
}

/// Between the two threads.
struct Shared {
    ready: AtomicBool,
    /// What came of loading.
    listener: OnceLock<Option<OwnedFd>>,
    /// Whom the agent is told of, once that is known.
    pid: AtomicI32,
    handed_over: AtomicBool,
}

impl Agent {
    /// Loads the filter. In a process of one thread, shortly before exec. No thread can be started after `enter`, by
    /// which the process enters a PID namespace for its children.
    pub(super) fn load(
        &self,
        (program, flags): (&[u8], u32),
        status: BorrowedFd<'_>,
        enter: impl FnOnce() -> SysResult<()>,
    ) -> Result<Handing, Failure> {
        let unconnected = || Failure::setup(errno::ESRCH, "hand over the seccomp listener".to_owned());
        let agent = fd::duplicate(self.socket.as_ref().ok_or_else(unconnected)?.as_fd())?;
        let (status, plan) = (fd::duplicate(status)?, self.handover.plan.clone());
        // Never freed, as that could be a system call: exec does.
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            ready: AtomicBool::new(false),
            listener: OnceLock::new(),
            pid: AtomicI32::new(self.handover.pid),
            handed_over: AtomicBool::new(false),
        }));
        let ended = fd::pipe()?;
        let helper = std::thread::Builder::new().stack_size(STACK);
        let helper = helper.spawn(move || hand_over(shared, &agent, &plan, status.as_fd()));
        drop(helper.map_err(SysError::io("start the helper of the seccomp filter", ""))?);
        // From here on it holds no lock until it is told of a process.
        while !shared.ready.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let loaded = enter().and_then(|()| privilege::load_seccomp(program, flags));
        let (listener, result) = match loaded {
            Ok(listener) => (listener, Ok(Handing { shared, ended })),
            Err(error) => (None, Err(error.into())),
        };
        // Set once only: nothing is given back that would have to be closed.
        let _ = shared.listener.set(listener);
        result
    }
}

/// A listener on its way.
pub(super) struct Handing {
    shared: &'static Shared,
    ended: (OwnedFd, OwnedFd),
}

impl Handing {
    /// Waits until the agent has it.
    pub(super) fn wait(&self) {
        while !self.shared.handed_over.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    }

    /// The same in a process that has a successor.
    pub(super) fn wait_for(&self, successor: &Successor) {
        self.shared.pid.store(successor.pid().unwrap_or_default(), Ordering::Release);
        self.wait();
    }

    /// The same in the successor: until the other has ended.
    pub(super) fn succeed(self, pass: &Pass) {
        let (told, tell) = self.ended;
        pass.wait_for_end(&told, tell);
        // A call that the filter has not been told of could be asked about; exec closes it.
        std::mem::forget(told);
    }
}

/// The helper: waits for the listener and sends it. When it cannot, the whole process ends, and its successor.
fn hand_over(shared: &Shared, agent: &OwnedFd, plan: &SeccompAgent, status: BorrowedFd<'_>) {
    let succeeded = shared.pid.load(Ordering::Acquire) == 0;
    shared.ready.store(true, Ordering::Release);
    let listener = loop {
        match shared.listener.get() {
            None => std::thread::sleep(LOOK_AGAIN),
            Some(listener) => break listener,
        }
    };
    let Some(listener) = listener else {
        shared.handed_over.store(true, Ordering::Release);
        return;
    };
    let pid = loop {
        match shared.pid.load(Ordering::Acquire) {
            0 => std::thread::sleep(LOOK_AGAIN),
            pid => break pid,
        }
    };
    match socket::send(agent.as_fd(), &message(plan, pid), Some(listener.as_fd())) {
        Ok(()) => shared.handed_over.store(true, Ordering::Release),
        Err(error) => {
            if succeeded {
                // It waits for this process's end and has not begun.
                let _ = process::kill(pid, SIGKILL);
            }
            let failure = Failure {
                message: format!("hand over the seccomp listener: {error}"),
                ..Failure::from(error)
            };
            // When the shim is gone nobody is left to tell.
            let _ = channel::send_failure(status, &failure);
            process::exit(1)
        }
    }
}

fn message(plan: &SeccompAgent, pid: i32) -> Vec<u8> {
    let pid = pid.to_string().into_bytes();
    let mut message = [plan.before_pid.as_slice(), &pid, &plan.between_pids].concat();
    if !plan.after_pids.is_empty() {
        message.extend_from_slice(&pid);
        message.extend_from_slice(&plan.after_pids);
    }
    message
}
