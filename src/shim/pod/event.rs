//! What happens to a pod, and what is learnt of its containers and commands.

use launch::Failure;
use sys::process::Ended;
use wire::msg::Reply;

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
    /// The pod's namespaces stand, with this pause.
    SandboxUp(Option<i32>),
    /// Something about a container.
    Container(String, Fact),
    /// Something about a command.
    Exec(u64, ExecFact),
    /// Something about an attached client.
    Client(u64, ClientFact),
    /// The output of a container is over, and all of it is read.
    Silenced(String),
    /// A daemon has come, by the token of its connection.
    Connected(u64),
    /// It has gone.
    HungUp(u64),
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

/// What happens to a command.
#[derive(Debug)]
pub(crate) enum ExecFact {
    /// It was forked.
    Forked(i32),
    /// It could not be.
    NotForked(Reply),
    /// Another process has taken its place in the container.
    Succeeded(i32),
    /// Its child said why it does not become the program.
    Failed(Failure),
    /// Its status channel was closed: the program runs, or nobody is left to run it.
    Closed,
    /// Its process has ended, and everything it said has been heard.
    Ended(End),
    /// Its output was read as far as there is any.
    Drained {
        /// It is at its end.
        silent: bool,
    },
    /// Everything that it has started was killed.
    Killed {
        /// There was nothing.
        empty: bool,
    },
}

/// What happens to an attached client.
#[derive(Debug)]
pub(crate) enum ClientFact {
    /// Its pipes stand.
    Opened,
    /// They could not be opened.
    NotOpened(Reply),
    /// So many bytes wait for room in its pipes.
    Behind(usize),
    /// Nobody reads them any more.
    Gone,
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
