//! What is to be done for a pod.

use wire::msg::{ExitRecord, Reply};

use super::{End, Event, Ticket};

/// What is to be done. A container is named by its id.
#[derive(Debug)]
pub(crate) enum Action {
    /// Answers a request.
    Reply(Ticket, Reply),
    /// Tells every daemon.
    Announce(ExitRecord),
    /// Goes on with this, once everything before is done.
    Then(Box<Event>),
    /// Reads all that a container's child has said.
    Hear(String),
    /// Reads all that a command's child has said.
    HearExec(u64),
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
    /// Writes the exit file.
    WriteExit(ExitRecord),
    /// Drops the container and its exit file.
    Forget(String),
    /// Gives the daemon its ends of a command's streams.
    PassStreams(Ticket, u64),
    /// Reads what is left of a command's output.
    DrainExec(u64),
    /// Kills everything that a command has started.
    KillExec(u64),
    /// Lets go of everything that a command of this container holds but what it has written.
    CloseExec(u64, String),
    /// Answers, with what a command has written if it has run.
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// The command.
        number: u64,
        /// The rest.
        reply: Reply,
    },
    /// Drops a command.
    ForgetExec(u64),
    /// Gives the daemon its ends of a client's pipes.
    PassPipes(Ticket, u64),
    /// Waits for room in those pipes of a client for which something is left, and in no others.
    AwaitRoom(u64),
    /// Closes the pipes to a client.
    CloseClient(u64),
    /// Ends a container's stdin.
    CloseStdin(String),
    /// Leaves a container's output alone.
    Hold(String),
    /// Goes on reading it.
    Resume(String),
    /// Says that a client of this container is dropped for not reading.
    ReportStalled(String),
}

/// How a request is carried out. What it brings is not copied: whoever carries it out has it at hand.
#[derive(Debug)]
pub(crate) enum Course {
    /// By these.
    Do(Vec<Action>),
    /// By forking the child that builds the container.
    Build,
    /// By forking the command.
    Run {
        /// Its number.
        number: u64,
        /// The first process of its container.
        first: i32,
    },
    /// By opening the pipes of a client of this number.
    Attach(u64),
    /// By the shim alone, which also answers.
    Serve,
}
