//! The protocol's requests, each with what answers it.

use super::{Command, Executed, Opened, Standing, Started};
use std::os::fd::OwnedFd;
use wire::feature::Features;
use wire::msg::{ContainerSnapshot, Reply, Request, Streams};
use wire::plan::{ContainerPlan, ExecPlan, SandboxPlan};

/// A request that knows its reply.
pub(super) trait Ask {
    /// What comes of it.
    type Answer;
    /// What is asked for; the subject follows.
    const VERB: &'static str;

    /// As it goes over the wire.
    fn request(self) -> Request;

    /// What a reply says, with the descriptors that came with it; `None` when it answers something else.
    fn answer(reply: Reply, passed: Vec<OwnedFd>) -> Option<Self::Answer>;
}

/// The first question on a connection.
pub(super) struct Greet;

/// What a shim answers to it.
pub(super) struct Greeting {
    pub(super) version: u32,
    pub(super) pid: i32,
    pub(super) pause_pid: Option<i32>,
    pub(super) containers: Vec<ContainerSnapshot>,
    pub(super) features: Features,
}

impl Ask for Greet {
    type Answer = Greeting;
    const VERB: &'static str = "say what runs in";

    fn request(self) -> Request {
        Request::Hello
    }

    fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<Greeting> {
        match reply {
            Reply::Hello { version, pid, containers, pause_pid, features, .. } => {
                Some(Greeting { version, pid, pause_pid, containers, features })
            }
            _ => None,
        }
    }
}

pub(super) struct Sandbox(pub(super) SandboxPlan);

impl Ask for Sandbox {
    type Answer = Standing;
    const VERB: &'static str = "set up";

    fn request(self) -> Request {
        Request::Sandbox(self.0)
    }

    fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<Standing> {
        match reply {
            Reply::Sandbox { pause_pid, warnings } => Some(Standing { pause_pid, warnings }),
            _ => None,
        }
    }
}

pub(super) struct Create(pub(super) ContainerPlan);

impl Ask for Create {
    type Answer = i32;
    const VERB: &'static str = "create container";

    fn request(self) -> Request {
        Request::Create(self.0)
    }

    fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<i32> {
        match reply {
            Reply::Created { pid } => Some(pid),
            _ => None,
        }
    }
}

pub(super) struct Start(pub(super) String);

impl Ask for Start {
    type Answer = Started;
    const VERB: &'static str = "start container";

    fn request(self) -> Request {
        Request::Start { id: self.0 }
    }

    fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<Started> {
        match reply {
            Reply::Started { started_at_ns, pid } => {
                Some(Started { at: started_at_ns, pid: Some(pid).filter(|pid| *pid > 0) })
            }
            _ => None,
        }
    }
}

pub(super) struct Exec(pub(super) ExecPlan);

impl Ask for Exec {
    type Answer = Executed;
    const VERB: &'static str = "run a command in";

    fn request(self) -> Request {
        Request::Exec(self.0)
    }

    fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<Executed> {
        match reply {
            Reply::Exec { exit_code, stdout, stderr, timed_out, .. } => {
                Some(Executed { exit_code, stdout, stderr, timed_out })
            }
            _ => None,
        }
    }
}

pub(super) struct OpenExec(pub(super) Command);

impl Ask for OpenExec {
    type Answer = Opened;
    const VERB: &'static str = "run a command in";

    fn request(self) -> Request {
        let Command { plan, streams, tty } = self.0;
        Request::OpenExec { plan, streams, tty }
    }

    fn answer(reply: Reply, passed: Vec<OwnedFd>) -> Option<Opened> {
        match reply {
            Reply::Opened { number, .. } => Some(Opened { number, descriptors: passed }),
            _ => None,
        }
    }
}

pub(super) struct WaitExec(pub(super) u64);

impl Ask for WaitExec {
    type Answer = i32;
    const VERB: &'static str = "wait for a command in";

    fn request(self) -> Request {
        Request::WaitExec { number: self.0 }
    }

    fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<i32> {
        match reply {
            Reply::Exec { exit_code, .. } => Some(exit_code),
            _ => None,
        }
    }
}

pub(super) struct Attach(pub(super) String, pub(super) Streams);

impl Ask for Attach {
    type Answer = Vec<OwnedFd>;
    const VERB: &'static str = "attach to";

    fn request(self) -> Request {
        Request::Attach { id: self.0, streams: self.1 }
    }

    fn answer(reply: Reply, passed: Vec<OwnedFd>) -> Option<Vec<OwnedFd>> {
        match reply {
            Reply::Opened { .. } => Some(passed),
            _ => None,
        }
    }
}

/// Requests that are answered by "done".
macro_rules! done {
    ($($name:ident ($($field:ident: $type:ty),*) $verb:literal => $request:expr;)*) => {$(
        pub(super) struct $name($(pub(super) $type),*);

        impl Ask for $name {
            type Answer = ();
            const VERB: &'static str = $verb;

            fn request(self) -> Request {
                let Self($($field),*) = self;
                $request
            }

            fn answer(reply: Reply, _: Vec<OwnedFd>) -> Option<()> {
                matches!(reply, Reply::Ok).then_some(())
            }
        }
    )*};
}

done! {
    Signal(id: String, signal: i32, all: bool) "signal container" => Request::Signal { id, signal, all };
    KillExec(request: u64) "end a command in" => Request::KillExec { request };
    CloseStdin(id: String) "close the stdin of" => Request::CloseStdin { id };
    ReopenLog(id: String) "reopen the log of" => Request::ReopenLog { id };
    Remove(id: String) "remove container" => Request::Remove { id };
    Shutdown() "end" => Request::Shutdown;
}
