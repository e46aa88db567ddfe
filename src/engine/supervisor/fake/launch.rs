//! Starting and finding supervisors in memory.

use super::supervisor::FakeSupervisor;
use super::{Act, FakeNode, Pod, Verb, gone};
use crate::error::EngineError;
use crate::record::PodFiles;
use crate::supervisor::{Connected, Hello, Launcher, Notice, Notify, Stray, Supervisor, SupervisorError};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use sys::shim_spawn::ShimProcess;
use sys::sync::lock;
use tokio::sync::{mpsc, watch};

impl Launcher for FakeNode {
    fn spawn(&self, pod: &str, files: &PodFiles) -> Result<ShimProcess, EngineError> {
        let failed = |errno| EngineError::sys("start a supervisor")(sys::SysError::new("spawn", pod, errno));
        if let Some(Act::Refuse(_, errno)) = self.next(Verb::Spawn, pod) {
            return Err(failed(errno));
        }
        let nothing = std::fs::File::open("/dev/null").map_err(EngineError::io("open", "/dev/null"))?;
        let mut node = lock(&self.0);
        let pid = node.process();
        let started = Pod {
            files: files.clone(),
            pid,
            alive: watch::Sender::new(true),
            stands: false,
            containers: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        node.pods.insert(pod.to_owned(), started);
        Ok(ShimProcess { pid, pidfd: nothing.into(), link: None })
    }

    fn connect<'a>(
        &'a self,
        pod: &'a str,
        _: &'a PodFiles,
        started: Option<ShimProcess>,
        notify: Notify,
    ) -> BoxFuture<'a, Result<Connected, EngineError>> {
        Box::pin(async move {
            let act = self.next(Verb::Connect, pod);
            let failed = || gone(pod, Verb::Connect, pod);
            match act {
                Some(Act::Wait(gate)) => gate.pass().await,
                Some(Act::Foreign) => {
                    let version = wire::VERSION + 1;
                    return Err(SupervisorError::Foreign { pod: pod.to_owned(), version }.into());
                }
                Some(_) => {
                    if started.is_some() {
                        self.kill(pod);
                    }
                    return Err(failed().into());
                }
                None => {}
            }
            let mut node = lock(&self.0);
            node.connections += 1;
            let number = node.connections;
            let held = node.pods.get_mut(pod).filter(|pod| *pod.alive.borrow()).ok_or_else(failed)?;
            let (sender, receiver) = mpsc::unbounded_channel();
            held.connections.insert(number, sender);
            let hello = Hello {
                pause_pid: None,
                containers: held.containers.iter().map(|(id, held)| held.snapshot(id)).collect(),
            };
            let supervisor = FakeSupervisor {
                node: self.clone(),
                pod: pod.to_owned(),
                pid: held.pid,
                alive: held.alive.subscribe(),
                number,
            };
            tokio::spawn(tell(receiver, notify));
            Ok((Arc::new(supervisor) as Arc<dyn Supervisor>, hello))
        })
    }

    fn kill(&self, process: ShimProcess) -> BoxFuture<'_, ()> {
        let mut node = lock(&self.0);
        let found = node.pods.iter().find(|(_, pod)| pod.pid == process.pid).map(|(id, _)| id.clone());
        if let Some(pod) = found {
            node.kill(&pod);
        }
        Box::pin(std::future::ready(()))
    }

    fn lives(&self, pod: &str) -> bool {
        self.living().iter().any(|living| living == pod)
    }

    fn strays(&self, _: &Path) -> Vec<Stray> {
        let stray = |pod| Stray { pod, cgroups: String::new() };
        self.living().into_iter().map(stray).collect()
    }

    fn kill_lost<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, ()> {
        FakeNode::kill(self, pod);
        Box::pin(std::future::ready(()))
    }
}

/// Tells what happens, in order, until the connection is closed.
async fn tell(mut news: mpsc::UnboundedReceiver<Notice>, notify: Notify) {
    while let Some(notice) = news.recv().await {
        notify(notice);
    }
    notify(Notice::Lost);
}
