//! A supervisor in memory, as an engine asks it.

use super::{Act, FakeNode, Held, Node, Verb, gone, name};
use crate::error::EngineError;
use crate::stats::Interface;
use crate::supervisor::{
    Accounts, Answer, Command, Executed, Opened, Standing, Started, Supervisor, SupervisorError,
};
use futures::future::BoxFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use sys::sync::lock;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::msg::{ContainerState, ErrorCode, Streams};
use wire::plan::{ContainerPlan, ExecPlan, SandboxPlan};

/// A connection to one of them.
pub(super) struct FakeSupervisor {
    pub(super) node: FakeNode,
    pub(super) pod: String,
    pub(super) pid: i32,
    pub(super) alive: watch::Receiver<bool>,
    pub(super) number: u64,
}

impl FakeSupervisor {
    /// Asks as over a connection: with what the script says, and an end where the supervisor's is.
    async fn ask<T>(
        &self,
        verb: Verb,
        subject: &str,
        work: impl FnOnce(&mut Node) -> Result<T, ErrorCode>,
    ) -> Result<T, SupervisorError> {
        let failed = || gone(&self.pod, verb, subject);
        if self.is_lost() {
            return Err(failed());
        }
        let act = self.node.next(verb, subject);
        let mut alive = self.alive.clone();
        let work = self.act(act, verb, subject, work);
        tokio::select! {
            answer = work => answer,
            _ = alive.wait_for(|alive| !alive) => Err(failed()),
        }
    }

    async fn act<T>(
        &self,
        act: Option<Act>,
        verb: Verb,
        subject: &str,
        work: impl FnOnce(&mut Node) -> Result<T, ErrorCode>,
    ) -> Result<T, SupervisorError> {
        let refused = |code, errno| SupervisorError::Refused {
            verb: name(verb),
            subject: subject.to_owned(),
            code,
            errno,
            message: format!("{code:?}"),
        };
        match &act {
            Some(Act::Refuse(code, errno)) => return Err(refused(*code, *errno)),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Wait(gate)) => gate.pass().await,
            Some(Act::Die) => {
                self.node.kill(&self.pod);
                return Err(gone(&self.pod, verb, subject));
            }
            _ => {}
        }
        let done = work(&mut lock(&self.node.0)).map_err(|code| refused(code, 0))?;
        match act {
            Some(Act::WrongReply) => Err(SupervisorError::WrongReply {
                pod: self.pod.clone(),
                verb: name(verb),
                subject: subject.to_owned(),
            }),
            Some(Act::Late(gate)) => {
                gate.pass().await;
                Ok(done)
            }
            Some(Act::DieAfter) => {
                self.node.kill(&self.pod);
                Err(gone(&self.pod, verb, subject))
            }
            Some(Act::HangUp) => {
                self.node.hang_up(&self.pod);
                Err(gone(&self.pod, verb, subject))
            }
            Some(Act::ExitFirst(code)) => {
                self.node.exit(subject, code);
                // Whoever listens hears of it now.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(done)
            }
            _ => Ok(done),
        }
    }

    /// With the container, where it is in a state that fits.
    fn with<T>(
        &self,
        node: &mut Node,
        id: &str,
        fits: &[ContainerState],
        work: impl FnOnce(&mut Held) -> T,
    ) -> Result<T, ErrorCode> {
        let held = node.pods.get_mut(&self.pod).and_then(|pod| pod.containers.get_mut(id));
        let held = held.ok_or(ErrorCode::NotFound)?;
        if !fits.contains(&held.state) {
            return Err(ErrorCode::BadState);
        }
        Ok(work(held))
    }
}

const RUNNING: &[ContainerState] = &[ContainerState::Running];

impl Supervisor for FakeSupervisor {
    fn sandbox(&self, plan: SandboxPlan) -> Answer<'_, Standing> {
        Box::pin(self.ask(Verb::Sandbox, &self.pod, move |node| {
            node.sandboxes.insert(self.pod.clone(), plan);
            let pod = node.pods.get_mut(&self.pod).ok_or(ErrorCode::NotFound)?;
            if std::mem::replace(&mut pod.stands, true) {
                return Err(ErrorCode::BadState);
            }
            Ok(Standing { pause_pid: None, warnings: Vec::new() })
        }))
    }

    fn create(&self, plan: ContainerPlan) -> Answer<'_, i32> {
        Box::pin(async move {
            let id = plan.id.clone();
            let work = |node: &mut Node| {
                node.plans.insert(id.clone(), plan);
                let pid = node.process();
                let pod = node.pods.get_mut(&self.pod).ok_or(ErrorCode::NotFound)?;
                if pod.containers.contains_key(&id) || !pod.stands {
                    return Err(ErrorCode::BadState);
                }
                let held = Held { state: ContainerState::Created, pid, started_at: 0, exit: None };
                pod.containers.insert(id.clone(), held);
                Ok(pid)
            };
            self.ask(Verb::Create, &id, work).await
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, Started> {
        Box::pin(self.ask(Verb::Start, id, move |node| {
            self.with(node, id, &[ContainerState::Created], |held| {
                (held.state, held.started_at) = (ContainerState::Running, crate::now());
                Started { at: held.started_at, pid: Some(held.pid) }
            })
        }))
    }

    fn signal<'a>(&'a self, id: &'a str, signal: i32, _: bool) -> Answer<'a, ()> {
        Box::pin(self.ask(Verb::Signal, id, move |node| {
            self.with(node, id, &[ContainerState::Created, ContainerState::Running], |_| ())?;
            if !node.ignored.contains(&signal) {
                node.end(id, 128 + signal, Some(signal));
            }
            Ok(())
        }))
    }

    fn exec(&self, plan: ExecPlan, unwanted: CancellationToken) -> Answer<'_, Executed> {
        Box::pin(async move {
            let id = &plan.container;
            let work = |node: &mut Node| {
                node.commands.push(plan.clone());
                let exit_code = node.exit_code;
                self.with(node, id, RUNNING, |_| Executed {
                    exit_code,
                    stdout: b"out".to_vec(),
                    stderr: Vec::new(),
                    timed_out: plan.timeout_ms == 1,
                })
            };
            let killed = Executed { exit_code: 137, stdout: Vec::new(), stderr: Vec::new(), timed_out: true };
            tokio::select! {
                answer = self.ask(Verb::Exec, id, work) => answer,
                () = unwanted.cancelled() => Ok(killed),
            }
        })
    }

    fn open_exec(&self, command: Command) -> Answer<'_, Opened> {
        Box::pin(async move {
            let id = &command.plan.container;
            let work = |node: &mut Node| {
                node.commands.push(command.plan.clone());
                self.with(node, id, RUNNING, |_| ())?;
                let count = if command.tty { 1 } else { count(command.streams) };
                Ok(Opened { number: 1, descriptors: node.pipes(count) })
            };
            self.ask(Verb::OpenExec, id, work).await
        })
    }

    fn wait_exec<'a>(&'a self, id: &'a str, _: u64) -> Answer<'a, i32> {
        Box::pin(self.ask(Verb::WaitExec, id, |node| Ok(node.exit_code)))
    }

    fn attach<'a>(&'a self, id: &'a str, streams: Streams) -> Answer<'a, Vec<OwnedFd>> {
        Box::pin(self.ask(Verb::Attach, id, move |node| {
            self.with(node, id, RUNNING, |_| ())?;
            // Without an output there is one that tells the end.
            let end = usize::from(!streams.stdout && !streams.stderr);
            Ok(node.pipes(count(streams) + end))
        }))
    }

    fn close_stdin<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.ask(Verb::CloseStdin, id, move |node| self.with(node, id, RUNNING, |_| ())))
    }

    fn reopen_log<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.ask(Verb::ReopenLog, id, move |node| self.with(node, id, RUNNING, |_| ())))
    }

    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.ask(Verb::Remove, id, move |node| {
            node.end(id, 137, Some(9));
            if let Some(pod) = node.pods.get_mut(&self.pod) {
                pod.containers.remove(id);
            }
            Ok(())
        }))
    }

    fn shutdown(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let work = |node: &mut Node| {
                let pod = node.pods.get(&self.pod).ok_or(ErrorCode::NotFound)?;
                let containers: Vec<String> = pod.containers.keys().cloned().collect();
                containers.iter().for_each(|id| node.end(id, 137, Some(9)));
                Ok(())
            };
            let answer = self.ask(Verb::Shutdown, &self.pod, work).await;
            if answer.is_ok() {
                self.node.kill(&self.pod);
            }
            answer
        })
    }

    fn dial(&self, _: Option<PathBuf>, port: u16) -> BoxFuture<'_, Result<TcpStream, EngineError>> {
        Box::pin(crate::supervisor::dial::dial(&self.pod, None, port))
    }

    fn accounts(&self) -> Option<Arc<dyn Accounts>> {
        let keeps = lock(&self.node.0).keeps_accounts;
        keeps.then(|| Arc::new(self.node.clone()) as Arc<dyn Accounts>)
    }

    fn interfaces(&self) -> io::Result<Arc<[Interface]>> {
        Ok([Interface { name: net::IFNAME.to_owned(), ..Interface::default() }].into())
    }

    fn stop_counting(&self) {}

    fn pid(&self) -> Option<i32> {
        Some(self.pid)
    }

    fn is_lost(&self) -> bool {
        let node = lock(&self.node.0);
        node.pods.get(&self.pod).is_none_or(|pod| !pod.connections.contains_key(&self.number))
    }

    fn gone(&self, limit: Duration) -> BoxFuture<'_, bool> {
        let mut alive = self.alive.clone();
        Box::pin(async move { tokio::time::timeout(limit, alive.wait_for(|alive| !alive)).await.is_ok() })
    }

    fn kill(&self) {
        self.node.kill(&self.pod);
    }
}

/// How many streams are asked for.
fn count(streams: Streams) -> usize {
    [streams.stdin, streams.stdout, streams.stderr].iter().filter(|wanted| **wanted).count()
}

impl Node {
    /// So many descriptors, whose other ends are kept for the test.
    fn pipes(&mut self, count: usize) -> Vec<OwnedFd> {
        let count = if self.starved { 0 } else { count };
        let pairs = std::iter::repeat_with(UnixStream::pair).take(count).flatten();
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
        self.streams = theirs;
        ours.into_iter().map(OwnedFd::from).collect()
    }
}
