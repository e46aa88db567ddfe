//! Supervisors that live in memory: they keep containers as a shim does, outlive an engine as shims outlive a daemon, and
//! do what a test scripts.

mod accounts;
mod launch;
mod supervisor;

use super::{Notice, SupervisorError};
use crate::record::PodFiles;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use tokio::sync::{mpsc, watch};
use wire::msg::{ContainerSnapshot, ContainerState, ErrorCode, ExitRecord};
use wire::plan::{ContainerPlan, ExecPlan, SandboxPlan};

/// What a supervisor, or whoever starts it, can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    Spawn,
    Connect,
    Sandbox,
    Create,
    Start,
    Signal,
    Exec,
    OpenExec,
    WaitExec,
    Attach,
    CloseStdin,
    ReopenLog,
    Remove,
    Shutdown,
}

/// What happens in the place of the usual.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A failure, and nothing is changed.
    Refuse(ErrorCode, i32),
    /// It is done, and the answer is of another kind.
    WrongReply,
    /// It is not done, and never answered.
    Hang,
    /// It waits, is done, and answered.
    Wait(Gate),
    /// It is done; the answer waits.
    Late(Gate),
    /// The supervisor ends before it does it.
    Die,
    /// The supervisor does it, and ends before it answers.
    DieAfter,
    /// It does it, and hangs up before it answers.
    HangUp,
    /// It is done, and the container's end is told before the answer.
    ExitFirst(i32),
    /// It is of a release that cannot be spoken with.
    Foreign,
}

/// Keeps something waiting until it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<(bool, usize)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new((false, 0)))
    }

    /// Lets everybody go on.
    pub(crate) fn open(&self) {
        self.0.send_modify(|(open, _)| *open = true);
    }

    /// Returns when somebody waits, or has waited.
    pub(crate) async fn reached(&self) {
        let mut state = self.0.subscribe();
        let _ = state.wait_for(|(_, waiting)| *waiting > 0).await;
    }

    pub(crate) async fn pass(&self) {
        self.0.send_modify(|(_, waiting)| *waiting += 1);
        let mut state = self.0.subscribe();
        let _ = state.wait_for(|(open, _)| *open).await;
    }
}

/// All supervisors of a node.
#[derive(Clone, Default)]
pub(crate) struct FakeNode(Arc<Mutex<Node>>);

#[derive(Default)]
struct Node {
    pods: BTreeMap<String, Pod>,
    script: BTreeMap<Verb, VecDeque<Act>>,
    asked: Vec<(Verb, String)>,
    /// Signals that containers do not end of.
    ignored: Vec<i32>,
    processes: i32,
    connections: u64,
    /// What pods were made of.
    sandboxes: BTreeMap<String, SandboxPlan>,
    /// What containers were made of.
    plans: BTreeMap<String, ContainerPlan>,
    /// What commands were run by.
    commands: Vec<ExecPlan>,
    /// Supervisors keep the accounts of their pods.
    keeps_accounts: bool,
    /// By the names of cgroups.
    limits: BTreeMap<String, oci::cgroup::Resources>,
    /// What commands end with.
    exit_code: i32,
    /// The other ends of streams that were handed out.
    streams: Vec<UnixStream>,
    /// It hands out none any more.
    starved: bool,
}

/// A supervisor, living or dead.
struct Pod {
    files: PodFiles,
    pid: i32,
    alive: watch::Sender<bool>,
    stands: bool,
    containers: BTreeMap<String, Held>,
    connections: BTreeMap<u64, mpsc::UnboundedSender<Notice>>,
}

struct Held {
    state: ContainerState,
    pid: i32,
    started_at: i64,
    exit: Option<ExitRecord>,
}

impl FakeNode {
    /// The next time that a verb is asked for, this happens. Several for the same verb happen one after the other.
    pub(crate) fn on(&self, verb: Verb, act: Act) {
        lock(&self.0).script.entry(verb).or_default().push_back(act);
    }

    /// Containers do not end of a signal.
    pub(crate) fn ignore(&self, signal: i32) {
        lock(&self.0).ignored.push(signal);
    }

    /// How often a verb was asked for.
    pub(crate) fn count(&self, verb: Verb) -> usize {
        lock(&self.0).asked.iter().filter(|(asked, _)| *asked == verb).count()
    }

    /// The pods whose supervisors live.
    pub(crate) fn living(&self) -> Vec<String> {
        let node = lock(&self.0);
        node.pods.iter().filter(|(_, pod)| *pod.alive.borrow()).map(|(id, _)| id.clone()).collect()
    }

    /// Containers that supervisors know, with their states.
    pub(crate) fn containers(&self) -> BTreeMap<String, ContainerState> {
        let node = lock(&self.0);
        let living = node.pods.values().filter(|pod| *pod.alive.borrow());
        living.flat_map(|pod| pod.containers.iter().map(|(id, held)| (id.clone(), held.state))).collect()
    }

    /// A container's program ends by itself.
    pub(crate) fn exit(&self, container: &str, code: i32) {
        lock(&self.0).end(container, code, None);
    }

    /// The supervisor of a pod is killed, and with it everything that it knew.
    pub(crate) fn kill(&self, pod: &str) {
        lock(&self.0).kill(pod);
    }

    /// A living supervisor closes its connections.
    pub(crate) fn hang_up(&self, pod: &str) {
        if let Some(pod) = lock(&self.0).pods.get_mut(pod) {
            pod.connections.clear();
        }
    }

    /// The plan of a pod.
    pub(crate) fn sandbox(&self, pod: &str) -> Option<SandboxPlan> {
        lock(&self.0).sandboxes.get(pod).cloned()
    }

    /// The plan of a container.
    pub(crate) fn plan(&self, container: &str) -> Option<ContainerPlan> {
        lock(&self.0).plans.get(container).cloned()
    }

    /// The plans of commands so far.
    pub(crate) fn commands(&self) -> Vec<ExecPlan> {
        lock(&self.0).commands.clone()
    }

    /// From now on supervisors keep the accounts of their pods themselves.
    pub(crate) fn keep_accounts(&self) {
        lock(&self.0).keeps_accounts = true;
    }

    /// From now on commands end so.
    pub(crate) fn end_commands_with(&self, code: i32) {
        lock(&self.0).exit_code = code;
    }

    /// The container's side of the streams that were handed out last.
    pub(crate) fn streams(&self) -> Vec<UnixStream> {
        std::mem::take(&mut lock(&self.0).streams)
    }

    /// From now on there are no descriptors for streams.
    pub(crate) fn starve(&self) {
        lock(&self.0).starved = true;
    }

    /// A supervisor forgets a container, as one whose removal was under way.
    pub(crate) fn forget(&self, container: &str) {
        if let Some(pod) = lock(&self.0).holder(container) {
            pod.containers.remove(container);
        }
    }

    /// The machine goes down and comes up again: no supervisor is there any more.
    pub(crate) fn reboot(&self) {
        let mut node = lock(&self.0);
        for pod in node.pods.values_mut() {
            pod.alive.send_replace(false);
            pod.connections.clear();
        }
        node.pods.clear();
    }

    fn next(&self, verb: Verb, subject: &str) -> Option<Act> {
        let mut node = lock(&self.0);
        node.asked.push((verb, subject.to_owned()));
        node.script.get_mut(&verb).and_then(VecDeque::pop_front)
    }
}

impl Node {
    fn process(&mut self) -> i32 {
        self.processes += 1;
        // Beyond what the kernel gives: nobody is hit by mistake.
        self.processes + (1 << 30)
    }

    fn holder(&mut self, container: &str) -> Option<&mut Pod> {
        self.pods.values_mut().find(|pod| *pod.alive.borrow() && pod.containers.contains_key(container))
    }

    /// Ends a container: its exit file is written, and then everybody is told.
    fn end(&mut self, container: &str, code: i32, signal: Option<i32>) {
        let Some(pod) = self.holder(container) else { return };
        let Some(held) = pod.containers.get_mut(container) else { return };
        if held.exit.is_some() {
            return;
        }
        let record = ExitRecord {
            id: container.to_owned(),
            code,
            signal,
            finished_at_ns: crate::now(),
            started_at_ns: held.started_at,
            ..ExitRecord::default()
        };
        held.state = ContainerState::Exited;
        held.exit = Some(record.clone());
        // The directory may be gone with the pod.
        let _ = sys::fs::write_atomic(&pod.files.exit(container), &wire::exit::encode(&record), 0o600);
        for connection in pod.connections.values() {
            let _ = connection.send(Notice::Exited(record.clone()));
        }
    }

    fn kill(&mut self, pod: &str) {
        if let Some(pod) = self.pods.get_mut(pod) {
            pod.alive.send_replace(false);
            pod.connections.clear();
        }
    }
}

impl Held {
    fn snapshot(&self, id: &str) -> ContainerSnapshot {
        ContainerSnapshot {
            id: id.to_owned(),
            state: self.state,
            pid: if self.exit.is_some() { 0 } else { self.pid },
            created_at_ns: self.started_at,
            started_at_ns: self.started_at,
            exit: self.exit.clone(),
        }
    }
}

fn gone(pod: &str, verb: Verb, subject: &str) -> SupervisorError {
    SupervisorError::Gone { pod: pod.to_owned(), verb: name(verb), subject: subject.to_owned() }
}

fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Spawn => "spawn",
        Verb::Connect => "connect to",
        Verb::Sandbox => "set up",
        Verb::Create => "create container",
        Verb::Start => "start container",
        Verb::Signal => "signal container",
        Verb::Exec | Verb::OpenExec => "run a command in",
        Verb::WaitExec => "wait for a command in",
        Verb::Attach => "attach to",
        Verb::CloseStdin => "close the stdin of",
        Verb::ReopenLog => "reopen the log of",
        Verb::Remove => "remove container",
        Verb::Shutdown => "end",
    }
}
