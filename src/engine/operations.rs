//! What is under way: every verb that changes something, with its subject, its age and the stages that it is in, for
//! whoever asks what hangs. A verb stays here until its work ends, also when its client has left.

mod past;

pub use past::{PastView, StageView};

use crate::Engine;
use crate::error::{EngineError, chain};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// ExecSync.
pub(crate) const EXEC_SYNC: &str = "ExecSync";
/// A command that runs with streams, from Exec on until its end, also where its client has left it.
pub(crate) const COMMAND: &str = "Exec";
/// Letters of a failure that are kept.
const LONGEST: usize = 1 << 10;
const ATTACH: &str = "Attach";
const PORT_FORWARD: &str = "PortForward";

/// What a client has streams for, beside commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionVerb {
    /// A container's own streams.
    Attach,
    /// Connections into a pod.
    PortForward,
}

tokio::task_local! {
    /// The verb that this task carries out.
    static CURRENT: Arc<Operation>;
}

/// A verb under way, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationView {
    /// The RPC.
    pub verb: &'static str,
    /// What it is about: an id, or a name.
    pub subject: String,
    /// How long it has been at work.
    pub age: Duration,
    /// The stages that it is in, each with its age; several where work goes on side by side.
    pub stages: Vec<(&'static str, Duration)>,
}

impl fmt::Display for OperationView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {:.3} s", self.verb, self.subject, self.age.as_secs_f64())?;
        for (number, (stage, age)) in self.stages.iter().enumerate() {
            let before = if number == 0 { ", in" } else { " and" };
            write!(f, "{before} {stage} for {:.3} s", age.as_secs_f64())?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Operation {
    verb: &'static str,
    subject: String,
    since: Instant,
    stages: Mutex<Stages>,
}

/// The stages of a verb.
#[derive(Debug, Default)]
struct Stages {
    open: Vec<(&'static str, Instant)>,
    /// Those that are over, for whoever asks later.
    done: Vec<past::Done>,
    /// Why the verb failed.
    failure: Option<String>,
}

/// All verbs under way, and the last ones.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, Arc<Operation>>>,
    past: past::Past,
}

impl Operations {
    /// Does some work under a name. The work is listed from now until its future ends or is dropped.
    pub(crate) fn track<T, W: Future<Output = T>>(
        self: &Arc<Self>,
        verb: &'static str,
        subject: String,
        work: W,
    ) -> impl Future<Output = T> + use<T, W> {
        let operation =
            Arc::new(Operation { verb, subject, since: Instant::now(), stages: Mutex::default() });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.running).insert(number, operation.clone());
        let listed = Listed { operations: self.clone(), number };
        CURRENT.scope(operation, async move {
            let _listed = listed;
            work.await
        })
    }

    fn view(&self) -> Vec<OperationView> {
        let running: Vec<Arc<Operation>> = lock(&self.running).values().cloned().collect();
        let now = Instant::now();
        let age = |since: Instant| now.saturating_duration_since(since);
        let view = |operation: Arc<Operation>| {
            let told =
                lock(&operation.stages).open.iter().map(|(name, since)| (*name, age(*since))).collect();
            let (verb, subject, age) = (operation.verb, operation.subject.clone(), age(operation.since));
            OperationView { verb, subject, age, stages: or_its_work(verb, told, age) }
        };
        running.into_iter().map(view).collect()
    }
}

/// What a verb does that tells no stage: most of its time is one wait, and to tell so at every call would cost some.
fn or_its_work(
    verb: &'static str,
    told: Vec<(&'static str, Duration)>,
    age: Duration,
) -> Vec<(&'static str, Duration)> {
    let work = match verb {
        _ if !told.is_empty() => return told,
        EXEC_SYNC | COMMAND => "command",
        ATTACH | PORT_FORWARD => "session",
        _ => return told,
    };
    vec![(work, age)]
}

struct Listed {
    operations: Arc<Operations>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let ended = lock(&self.operations.running).remove(&self.number);
        if let Some(operation) = ended {
            self.operations.past.keep(self.number, operation);
        }
    }
}

/// A stage of the current verb, until it is dropped.
pub(crate) struct Stage(Option<(Arc<Operation>, &'static str)>);

/// The verb that is carried out here, for threads of others that work for it.
pub(crate) struct Current(Option<Arc<Operation>>);

/// What is carried out by this task.
pub(crate) fn current() -> Current {
    Current(CURRENT.try_with(Arc::clone).ok())
}

impl Current {
    /// Works for the verb on another thread.
    pub(crate) fn within<T>(self, work: impl FnOnce() -> T) -> T {
        match self.0 {
            Some(operation) => CURRENT.sync_scope(operation, work),
            None => work(),
        }
    }
}

/// Says that the current verb, where there is one, is in a stage from now on.
pub(crate) fn stage(name: &'static str) -> Stage {
    Stage(CURRENT.try_with(Arc::clone).ok().map(|operation| {
        lock(&operation.stages).open.push((name, Instant::now()));
        (operation, name)
    }))
}

/// Does a verb's work, and remembers with it why it failed.
pub(crate) async fn told<T>(work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    let result = work.await;
    if let (Err(error), Ok(operation)) = (&result, CURRENT.try_with(Arc::clone)) {
        let failure = chain(error).chars().take(LONGEST).collect();
        lock(&operation.stages).failure = Some(failure);
    }
    result
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some((operation, name)) = &self.0 else { return };
        lock(&operation.stages).end(name, operation.since);
    }
}

impl Engine {
    /// Serves a session of a client that has its streams, which is listed meanwhile.
    pub fn session<T, W: Future<Output = T>>(
        &self,
        verb: SessionVerb,
        subject: &str,
        work: W,
    ) -> impl Future<Output = T> + use<T, W> {
        let verb = match verb {
            SessionVerb::Attach => ATTACH,
            SessionVerb::PortForward => PORT_FORWARD,
        };
        self.core.operations.track(verb, subject.to_owned(), work)
    }

    /// Does something for an operator, which is listed meanwhile.
    pub fn for_operator<T, W: Future<Output = T>>(
        &self,
        verb: &'static str,
        subject: &str,
        work: W,
    ) -> impl Future<Output = T> + use<T, W> {
        self.core.operations.track(verb, subject.to_owned(), work)
    }

    /// What is under way, the oldest first. Pods and containers that are named by id are named by name, too.
    pub fn operations(&self) -> Vec<OperationView> {
        let named = self.core.operations.view().into_iter().map(|mut view| {
            if let Some(name) = self.name_of(view.verb, &view.subject) {
                view.subject = format!("{name} {}", view.subject);
            }
            view
        });
        named.collect()
    }

    fn name_of(&self, verb: &str, id: &str) -> Option<String> {
        let container = match verb {
            // Clients may have shortened it.
            EXEC_SYNC | COMMAND | ATTACH => self.core.registry.container(id).ok(),
            _ => self.core.registry.any_container(id),
        };
        let pod = container.as_ref().map(|container| container.pod.clone());
        let pod = pod.or_else(|| self.core.registry.pod(id).ok().filter(|pod| *pod.id == *id))?;
        let of_pod = &pod.config().metadata;
        let own = container.map(|container| format!("/{}", container.record().config.metadata.name));
        Some(format!("{}/{}{}", of_pod.namespace, of_pod.name, own.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_verb_is_listed_with_its_stages_until_its_work_ends() {
        let operations = Arc::new(Operations::default());
        let (go, wait) = oneshot::channel::<()>();
        let work = operations.track("RunPodSandbox", "test/web".to_owned(), async move {
            let _outer = stage("network");
            let _inner = stage("cni_add");
            let _ = wait.await;
        });
        let work = tokio::spawn(work);
        while operations.view().first().is_none_or(|seen| seen.stages.len() < 2) {
            tokio::task::yield_now().await;
        }
        let seen = operations.view();
        assert_eq!((seen[0].verb, seen[0].subject.as_str()), ("RunPodSandbox", "test/web"));
        let names: Vec<&str> = seen[0].stages.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["network", "cni_add"]);
        let text = seen[0].to_string();
        assert!(text.starts_with("RunPodSandbox test/web for 0."), "{text}");
        assert!(text.contains(", in network for 0.") && text.contains(" and cni_add for 0."), "{text}");
        let _ = go.send(());
        assert!(work.await.is_ok());
        assert_eq!(operations.view(), []);
    }

    #[tokio::test]
    async fn a_command_that_tells_no_stage_is_in_its_command() {
        let operations = Arc::new(Operations::default());
        let work = operations.track(EXEC_SYNC, "c1".to_owned(), std::future::pending::<()>());
        let text = operations.view()[0].to_string();
        assert!(text.starts_with("ExecSync c1 for 0.") && text.contains(", in command for 0."), "{text}");
        drop(work);
    }

    #[tokio::test]
    async fn work_that_is_given_up_is_listed_no_more_and_stages_outside_of_a_verb_are_nobodys() {
        let operations = Arc::new(Operations::default());
        let work = operations.track("PullImage", "busybox".to_owned(), std::future::pending::<()>());
        assert_eq!(operations.view().len(), 1);
        drop(work);
        assert_eq!(operations.view(), []);
        drop(stage("tidying"));
    }
}
