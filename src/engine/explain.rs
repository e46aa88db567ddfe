//! What is known of one pod or container for whoever asks why: its state, what has been done with it, and what is waited for
//! now. All of this blocks: it looks through /proc.

use crate::error::EngineError;
use crate::in_memory::{Container, Pod};
use crate::operations::PastView;
use crate::{Engine, hang};
use model::{ContainerState, SandboxState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The shortest beginning of the id of something that is gone.
const SHORTEST: usize = 12;

/// What is known of a pod or a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// `pod` or `container`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Namespace and name; of a container with its own.
    pub name: String,
    /// Its state, one word; `gone` where only operations are known.
    pub state: String,
    /// Why it is not running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What is waited for now.
    pub waits: Vec<String>,
    /// What of the node bears on it besides: plugins that are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Operations under way and the last ones, the oldest first.
    pub operations: Vec<PastView>,
}

impl Engine {
    /// Explains a pod that is named by its id, the beginning of one, its name, or namespace and name.
    ///
    /// # Errors
    /// Nothing is known of it.
    pub fn explain_pod(&self, named: &str) -> Result<Explanation, EngineError> {
        let Some(pod) = self.pod_named(named)? else {
            return self.gone("pod", named).ok_or_else(|| EngineError::NoSuchPod(named.to_owned()));
        };
        let containers = self.core.registry.containers_of(&pod.id);
        let mut words = vec![pod.id.to_string()];
        words.extend(containers.iter().map(|container| container.id.to_string()));
        let state = match pod.state() {
            SandboxState::Ready => "ready",
            SandboxState::NotReady => "not ready",
            SandboxState::Creating => "being made",
        };
        let mut reasons = Vec::new();
        if pod.state() == SandboxState::NotReady {
            let by_client =
                if pod.is_released() { "it was stopped" } else { "it broke, or is being stopped" };
            reasons.push(by_client.to_owned());
        }
        reasons.extend(containers.iter().filter_map(|container| {
            let name = &container.record().config.metadata.name;
            why(container).map(|why| format!("container {name} {}: {why}", container.id))
        }));
        let mut explanation = Explanation {
            kind: "pod".to_owned(),
            id: pod.id.to_string(),
            name: name_of(&pod),
            state: state.to_owned(),
            reasons,
            ..Explanation::default()
        };
        self.complete(&mut explanation, &pod, &words);
        Ok(explanation)
    }

    /// Explains a container that is named by its id, the beginning of one, or its name: alone, with its pod's, or with the
    /// namespace, too.
    ///
    /// # Errors
    /// Nothing is known of it.
    pub fn explain_container(&self, named: &str) -> Result<Explanation, EngineError> {
        let Some(container) = self.container_named(named)? else {
            return self
                .gone("container", named)
                .ok_or_else(|| EngineError::NoSuchContainer(named.to_owned()));
        };
        let own = container.record().config.metadata.name.clone();
        let mut explanation = Explanation {
            kind: "container".to_owned(),
            id: container.id.to_string(),
            name: format!("{}/{own}", name_of(&container.pod)),
            state: container.state().name().to_owned(),
            reasons: why(&container).into_iter().collect(),
            ..Explanation::default()
        };
        self.complete(&mut explanation, &container.pod, &[container.id.to_string()]);
        Ok(explanation)
    }

    fn pod_named(&self, named: &str) -> Result<Option<Arc<Pod>>, EngineError> {
        let called = self.core.registry.pods().into_iter().filter_map(|pod| {
            let name = name_of(&pod);
            is_end(named, &name).then(|| Called {
                id: pod.id.to_string(),
                name,
                since: pod.record().created_at,
                it: pod,
            })
        });
        if let Some(pod) = youngest(named, called)? {
            return Ok(Some(pod));
        }
        match self.core.registry.pod(named) {
            Err(EngineError::NoSuchPod(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    fn container_named(&self, named: &str) -> Result<Option<Arc<Container>>, EngineError> {
        let called = self.core.registry.containers().into_iter().filter_map(|container| {
            let record = container.record();
            let name = format!("{}/{}", name_of(&container.pod), record.config.metadata.name);
            let (id, since) = (container.id.to_string(), record.created_at);
            is_end(named, &name).then(|| Called { id, name, since, it: container })
        });
        if let Some(container) = youngest(named, called)? {
            return Ok(Some(container));
        }
        match self.core.registry.container(named) {
            Err(EngineError::NoSuchContainer(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// What is no more, or never came to be, as far as operations on it are remembered.
    fn gone(&self, kind: &str, named: &str) -> Option<Explanation> {
        let operations = match (kind, named.rsplit_once('/')) {
            ("pod", _) => self.core.operations.about(|subject| {
                subject.split(' ').any(|word| word == named || is_begin(word, named) || is_end(named, word))
            }),
            // A creation names the container, and the pod by its id.
            (_, Some((pod, own))) => {
                let pod = self.pod_named(pod).ok().flatten()?;
                let mut of_pod = self.core.operations.of(&[pod.id.to_string()]);
                of_pod.retain(|one| one.subject.split(' ').next() == Some(own));
                of_pod
            }
            (_, None) => self.core.operations.about(|subject| {
                subject.split(' ').any(|word| is_begin(word, named) || is_begin(named, word))
            }),
        };
        (!operations.is_empty()).then(|| Explanation {
            kind: kind.to_owned(),
            id: named.to_owned(),
            state: "gone".to_owned(),
            operations,
            ..Explanation::default()
        })
    }

    fn complete(&self, explanation: &mut Explanation, pod: &Pod, words: &[String]) {
        let operations = self.core.operations.of(words);
        // A verb that has told no stage waits for its turn.
        let of_pod = self.core.operations.of(&self.words_of(pod));
        let in_flight: Vec<&PastView> = of_pod.iter().filter(|one| one.in_flight).collect();
        for waiting in operations.iter().filter(|one| one.in_flight && one.stages.is_empty()) {
            let holder = in_flight
                .iter()
                .find(|other| other.began_ms <= waiting.began_ms && other.number != waiting.number);
            explanation.waits.extend(
                holder.map(|holder| format!("{} waits for its turn behind {}", waiting.verb, holder.now())),
            );
        }
        let busy = operations.iter().filter(|one| one.in_flight && !one.stages.is_empty());
        explanation.waits.extend(busy.map(PastView::now));
        explanation.waits.extend(plugins(&pod.id));
        if in_flight.iter().any(|one| one.stages.iter().any(|stage| stage.in_flight && stage.stage == "nri"))
        {
            explanation.waits.extend(self.asked_and_awaited());
        }
        explanation.notes = self.absent_plugins(pod);
        let processes = processes(words);
        let shim = pod.supervisor_pid().into_iter();
        let own = std::process::id().cast_signed();
        explanation.waits.extend(processes.into_iter().chain(shim).chain([own]).flat_map(hang::of_process));
        explanation.waits.extend(self.core.operations.pulls());
        explanation.waits.dedup();
        explanation.operations = operations;
    }

    fn words_of(&self, pod: &Pod) -> Vec<String> {
        let containers = self.core.registry.containers_of(&pod.id);
        let ids = containers.iter().map(|container| container.id.to_string());
        ids.chain([pod.id.to_string()]).collect()
    }
}

/// What goes by a name.
struct Called<T> {
    id: String,
    name: String,
    /// When it was made, in nanoseconds.
    since: i64,
    it: Arc<T>,
}

/// Whether an id begins so. Clients may have shortened it.
fn is_begin(id: &str, begin: &str) -> bool {
    begin.len() >= SHORTEST && id.starts_with(begin)
}

/// Whether a name is a whole one, or that without what it is in.
fn is_end(named: &str, whole: &str) -> bool {
    whole
        .strip_suffix(named)
        .is_some_and(|before| !named.is_empty() && (before.is_empty() || before.ends_with('/')))
}

/// What was made again has the name of what was there before: the youngest is meant.
fn youngest<T>(named: &str, called: impl Iterator<Item = Called<T>>) -> Result<Option<Arc<T>>, EngineError> {
    let mut found: BTreeMap<String, Called<T>> = BTreeMap::new();
    for one in called {
        match found.get(&one.name) {
            Some(other) if other.since >= one.since => {}
            _ => drop(found.insert(one.name.clone(), one)),
        }
    }
    if found.len() > 1 {
        let candidates: Vec<String> =
            found.values().map(|one| format!("{} ({})", one.id, one.name)).collect();
        return Err(EngineError::AmbiguousName {
            name: named.to_owned(),
            candidates: model::first_of(candidates),
        });
    }
    Ok(found.into_values().next().map(|one| one.it))
}

fn name_of(pod: &Pod) -> String {
    let metadata = &pod.config().metadata;
    format!("{}/{}", metadata.namespace, metadata.name)
}

/// Why a container does not run.
fn why(container: &Container) -> Option<String> {
    match container.state() {
        ContainerState::Running { .. } => None,
        ContainerState::Created => Some("it is made, and waits for StartContainer".to_owned()),
        ContainerState::Exited { exit, .. } => {
            let signal = exit.signal.map(|signal| format!(", by signal {signal}")).unwrap_or_default();
            let memory = if exit.oom_killed { ", killed by the kernel for want of memory" } else { "" };
            let message = if exit.message.is_empty() { String::new() } else { format!(": {}", exit.message) };
            Some(format!("{} with code {}{signal}{memory}{message}", exit.reason, exit.code))
        }
    }
}

/// CNI plugins that are executing for a pod.
fn plugins(pod: &str) -> Vec<String> {
    let own = std::process::id();
    let wanted = format!("CNI_CONTAINERID={pod}");
    let is_child = |status: &str| {
        status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == own.to_string()))
    };
    let found = pids().filter_map(|pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if !is_child(&String::from_utf8_lossy(&read("status"))) {
            return None;
        }
        let environment = read("environ");
        let mut settings = environment.split(|byte| *byte == 0);
        settings.any(|setting| setting == wanted.as_bytes()).then(|| {
            let program = executed(&read("cmdline"))
                .unwrap_or_else(|| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default());
            format!("CNI plugin {} executes (process {pid})", program.display())
        })
    });
    found.collect()
}

/// The file of a plugin, which has no arguments: that of a script stands behind its interpreter's.
fn executed(line: &[u8]) -> Option<PathBuf> {
    let last = line.split(|byte| *byte == 0).rfind(|word| !word.is_empty())?;
    let path = PathBuf::from(OsStr::from_bytes(last));
    path.is_absolute().then_some(path)
}

/// The processes in the cgroups of pods and containers of these ids.
fn processes(ids: &[String]) -> Vec<i32> {
    let is_of = |pid: &i32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        ids.iter().any(|id| cgroups.contains(id.as_str()))
    };
    pids().filter(is_of).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
