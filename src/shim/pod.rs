//! A pod as a state machine: what happens goes in as an [`Event`], what is to be done comes out as [`Action`]s. It holds
//! no descriptor, makes no system call and reads no clock, so that every order of events can be tried in memory.
//!
//! Actions are carried out in their order. What one of them brings about (a fork that succeeds, a count that was read)
//! comes back as an event before the next one is carried out.

mod burial;
mod container;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use launch::Failure;
use sys::process::Ended;
use wire::msg::{ContainerSnapshot, ExitRecord, Reply, Request, Streams};
use wire::plan::{ContainerPlan, ExecPlan, SandboxPlan};

pub(crate) use container::Container;

/// A pod that does not die in this time is left behind.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    /// The connection's token; the connection may be gone.
    pub(crate) conn: u64,
    /// The request's frame id.
    pub(crate) id: u64,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// How it ended.
    pub(crate) how: Ended,
    /// When, by the wall clock.
    pub(crate) at_ns: i64,
}

/// What happens to a pod.
#[derive(Debug)]
pub(crate) enum Event {
    /// A daemon asks.
    Asked(Ticket, Box<Request>),
    /// The pod's namespaces stand, with this pause.
    SandboxUp(Option<i32>),
    /// Something about a container.
    Container(String, Fact),
    /// A process was reaped.
    Reaped(End),
    /// It belonged to nobody, and what builders had still to tell has been heard.
    ReapedAgain(End),
    /// Time has gone by.
    Timer,
}

/// What happens to a container.
#[derive(Debug)]
pub(crate) enum Fact {
    /// The child that builds it was forked.
    Forked(Birth),
    /// It could not be.
    NotForked(Reply),
    /// The builder has made another one, which goes on in its place.
    HandedOver(i32),
    /// The process that becomes the program in a PID namespace that it joins has appeared there.
    Succeeded(i32),
    /// Everything but exec is done.
    Ready,
    /// Its child said why it does not become its program.
    Failed(Failure),
    /// It cannot be supervised: to be killed.
    Broken(Failure),
    /// Its status channel was closed: the program runs, or nobody is left to run it.
    Closed,
    /// The child was told to go on, at this time by the wall clock.
    Told(i64),
    /// It could not be told.
    NotTold(Reply),
    /// The runtime's command `start` runs: when it was forked by the wall clock, and its process id.
    HelperRuns(i64, i32),
    /// How often the kernel has killed in its cgroup for want of memory, and whether its first process dies already.
    Counted(Count),
    /// A command of it has ended: it may have outlived a kill.
    Outlived,
    /// Its cgroup is out of memory.
    OutOfMemory,
    /// An output is at its end.
    OutputOver,
    /// The process that a runtime has left behind was taken in as its first one.
    Adopted(i32),
    /// It was not; the command that was to leave it ended so.
    NotAdopted(Failure, End),
    /// Its first process, or what passed for it, has ended, and everything it said has been heard.
    Ended(End),
    /// The runtime's command has ended, and everything it said has been heard.
    HelperEnded(End),
    /// Its cgroup was emptied, and its output read as far as there is any.
    Emptied(Rest),
    /// It holds nothing open any more.
    Closing(Remains),
}

/// How a container begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    /// The child that builds it.
    pub(crate) pid: i32,
    /// By the wall clock.
    pub(crate) at_ns: i64,
    /// It joins a PID namespace: another process becomes its program.
    pub(crate) joins: bool,
    /// How often the kernel has killed in its cgroup before.
    pub(crate) oom_kills: u64,
}

/// What was counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    /// How often the kernel has killed.
    pub(crate) kills: u64,
    /// The first process is ending; looked at after the count.
    pub(crate) dying: bool,
    /// SIGKILL is sent to it next.
    pub(crate) doomed: bool,
}

/// What is left of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Nothing is in its cgroup.
    pub(crate) alone: bool,
    /// Its output is read to the end.
    pub(crate) silent: bool,
}

/// What a container leaves behind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Remains {
    /// How often the kernel has killed in its cgroup.
    pub(crate) oom_kills: u64,
    /// Bytes of output that could not be written.
    pub(crate) bytes_lost: u64,
}

/// What is to be done. A container is named by its id.
#[derive(Debug)]
pub(crate) enum Action {
    /// Answers a request.
    Reply(Ticket, Reply),
    /// Carries out and answers a request that changes nothing here.
    Serve(Ticket, Errand),
    /// Tells every daemon.
    Announce(ExitRecord),
    /// Goes on with this, once everything before is done.
    Then(Box<Event>),
    /// Forks the child that builds a container.
    Build(Box<ContainerPlan>),
    /// Reads all that a container's child has said.
    Hear(String),
    /// Tells the child to go on.
    Tell(String),
    /// Forks the runtime's command `start`.
    RunStart(String),
    /// Takes in the process that a runtime's `create`, which ended so, has left behind.
    Adopt(String, End),
    /// Closes the status channel.
    CloseStatus(String),
    /// Wants to know when the cgroup is out of memory.
    WatchMemory(String),
    /// Counts the kernel's kills in the cgroup, of which so many are known.
    Count {
        /// The container.
        id: String,
        /// Fewer than before never are.
        known: u64,
        /// SIGKILL is sent next.
        doomed: bool,
    },
    /// Sends a signal, and answers.
    Signal {
        /// Who asks.
        ticket: Ticket,
        /// The container.
        id: String,
        /// The signal's number.
        signal: i32,
        /// To every process.
        all: bool,
    },
    /// Kills the first process, also a frozen one.
    Kill(String),
    /// Kills the pause.
    KillPause,
    /// The pause has been reaped.
    ForgetPause,
    /// The runtime's command has been reaped.
    ForgetHelper(String),
    /// The first process has been reaped.
    ForgetProcess(String),
    /// Reads what is left of the output, after killing what is left in the cgroup if that is to be.
    Empty {
        /// The container.
        id: String,
        /// The cgroup, too.
        kill: bool,
    },
    /// Ends the log and stdin, and tells what is left; the kernel's kills are counted if they matter.
    Close {
        /// The container.
        id: String,
        /// Whether they matter.
        count: bool,
    },
    /// Throws the log away that was opened for a container that never came to be.
    DiscardLog(String),
    /// Lets go of everything that a dead container holds.
    Release(String),
    /// The attached clients of a container get no more.
    EndClients(String),
    /// Writes the exit file.
    WriteExit(ExitRecord),
    /// Drops the container and its exit file.
    Forget(String),
}

/// What a daemon asks of the shim alone.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Who are you?
    Greet,
    /// Enter the pod's namespaces.
    SetUp(Box<SandboxPlan>),
    /// Run a command.
    Exec(Box<ExecPlan>),
    /// Run a command with streams.
    OpenExec {
        /// The command.
        plan: Box<ExecPlan>,
        /// Its streams.
        streams: Streams,
        /// A terminal in their place.
        tty: bool,
    },
    /// Wait for a command with streams.
    WaitExec(u64),
    /// Open a container's log anew.
    ReopenLog(String),
    /// Close the stdin of a container.
    CloseStdin(String),
    /// Join the streams of a container.
    Attach(String, Streams),
}

/// The pod's shutdown under way.
#[derive(Debug)]
struct Shutdown {
    /// Who asked.
    ticket: Ticket,
    /// When to leave regardless of what is left.
    by: Instant,
}

/// What is known of a pod.
#[derive(Debug, Default)]
pub(crate) struct Pod {
    containers: BTreeMap<String, Container>,
    is_set_up: bool,
    /// Until it is reaped.
    pause: Option<i32>,
    shutdown: Option<Shutdown>,
    /// What the event at hand has led to so far.
    todo: Vec<Action>,
}

impl Pod {
    /// Takes in what has happened, and says what is to be done.
    pub(crate) fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Asked(ticket, request) => self.asked(now, ticket, *request),
            Event::SandboxUp(pause) => {
                self.is_set_up = true;
                self.pause = pause;
            }
            Event::Container(id, fact) => self.on_fact(now, &id, fact),
            Event::Reaped(end) => self.on_reaped(end),
            Event::ReapedAgain(end) => {
                self.take_in(end);
            }
            Event::Timer => self.on_timer(now),
        }
        std::mem::take(&mut self.todo)
    }

    /// When the next timer fires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let containers = self.containers.values().filter_map(Container::deadline);
        containers.chain(self.shutdown.as_ref().map(|shutdown| shutdown.by)).min()
    }

    /// Who is to be told that the pod has ended, once it has.
    pub(crate) fn has_ended(&self, now: Instant) -> Option<Ticket> {
        let shutdown = self.shutdown.as_ref()?;
        let alive = self.pause.is_some() || self.containers.values().any(Container::is_alive);
        (!alive || shutdown.by <= now).then_some(shutdown.ticket)
    }

    /// Its containers, for a greeting.
    pub(crate) fn snapshots(&self) -> Vec<ContainerSnapshot> {
        self.containers.values().map(Container::snapshot).collect()
    }

    /// The sandbox request has been carried out.
    pub(crate) fn is_set_up(&self) -> bool {
        self.is_set_up
    }

    /// The pause's process, while there is one.
    pub(crate) fn pause(&self) -> Option<i32> {
        self.pause
    }

    /// One of its containers.
    pub(crate) fn container(&self, id: &str) -> Option<&Container> {
        self.containers.get(id)
    }

    fn on_timer(&mut self, now: Instant) {
        for container in self.containers.values_mut() {
            if container.deadline().is_some_and(|at| at <= now) {
                container.on_timer(now, &mut self.todo);
            }
        }
    }

    fn on_fact(&mut self, now: Instant, id: &str, fact: Fact) {
        // What comes late is about a container that is forgotten.
        let Some(container) = self.containers.get_mut(id) else { return };
        if let container::Next::Forget = container.on(now, fact, &mut self.todo) {
            self.forget(id);
        }
    }

    /// Drops a dead container.
    fn forget(&mut self, id: &str) {
        if let Some(container) = self.containers.remove(id) {
            self.todo.push(Action::Forget(id.to_owned()));
            let removers = container.into_removers().into_iter();
            self.todo.extend(removers.map(|ticket| Action::Reply(ticket, Reply::Ok)));
        }
    }
}
