//! `corten events`: what happened to the pods and containers that are there, by what is known of them, and what happens.

use crate::connection::{Daemon, refused};
use crate::error::Error;
use crate::node::{Node, pod_name};
use crate::print::write;
use crate::{ps, time};
use cli::events::{EventOutput, EventsArgs};
use proto::{
    ContainerEventResponse, ContainerEventType, ContainerState, ContainerStatus, GetEventsRequest,
    PodSandbox, PodSandboxState,
};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Something that happened.
struct Event {
    at: i64,
    what: &'static str,
    kind: &'static str,
    id: String,
    namespace: String,
    pod: String,
    container: String,
    /// Of a container that ended.
    exit: Option<(i32, String)>,
}

/// Prints what happened, and goes on with what happens.
pub(crate) async fn run(daemon: &Daemon, arguments: &EventsArgs) -> Result<(), Error> {
    // Nothing is lost between the past and the present: what is in both is told once.
    let mut runtime = daemon.runtime.clone();
    let events = if arguments.follow {
        let doing = "follow the events";
        Some(daemon.answer(doing, runtime.get_container_events(GetEventsRequest {})).await?)
    } else {
        None
    };
    let node = Node::look(daemon).await?;
    let pod = arguments.pod.as_ref().map(|name| node.pod(name)).transpose()?;
    let passes = |event: &Event| {
        pod.is_none_or(|pod| pod_name(pod) == (event.namespace.as_str(), event.pod.as_str()))
            && arguments.namespace.as_ref().is_none_or(|wanted| *wanted == event.namespace)
    };
    let (mut told, mut names) = (HashSet::new(), HashMap::new());
    for event in past(daemon, &node).await?.iter().filter(|event| passes(event)) {
        tell(event, arguments.output)?;
        told.insert((event.id.clone(), event.what));
        names.insert(event.id.clone(), event.container.clone());
    }
    let Some(mut events) = events else { return Ok(()) };
    loop {
        let next = events.message().await.map_err(|status| refused("follow the events", &status))?;
        let Some(response) = next else {
            let reason = "the daemon ends: follow them anew when it is back".to_owned();
            return Err(Error::Refused { doing: "follow the events".to_owned(), reason });
        };
        let mut event = Event::now(&response);
        if event.container.is_empty() {
            event.container = names.remove(&event.id).unwrap_or_default();
        } else {
            names.insert(event.id.clone(), event.container.clone());
        }
        if passes(&event) && told.insert((event.id.clone(), event.what)) {
            tell(&event, arguments.output)?;
        }
    }
}

/// What is known of the things that are there, the oldest first.
async fn past(daemon: &Daemon, node: &Node) -> Result<Vec<Event>, Error> {
    let mut events: Vec<Event> = Vec::new();
    for pod in &node.pods {
        events.push(Event::of_pod(pod, "created", pod.created_at));
    }
    for container in &node.containers {
        let status = match ps::status(daemon, &container.id, false).await {
            Ok(answer) => answer.status.unwrap_or_default(),
            // It was removed meanwhile.
            Err(Error::Missing { .. }) => continue,
            Err(error) => return Err(error),
        };
        let (namespace, pod, _) = node.names(container);
        let event = |what, at| Event::of_container(&status, (namespace, pod), what, at);
        events.push(event("created", status.created_at));
        if status.started_at > 0 {
            events.push(event("started", status.started_at));
        }
        if status.state() == ContainerState::ContainerExited {
            events.push(event("stopped", status.finished_at));
        }
    }
    events.sort_by_key(|event| event.at);
    Ok(events)
}

impl Event {
    fn of_pod(pod: &PodSandbox, what: &'static str, at: i64) -> Self {
        let (namespace, name) = pod_name(pod);
        let (id, namespace, name) = (pod.id.clone(), namespace.to_owned(), name.to_owned());
        Self { at, what, kind: "pod", id, namespace, pod: name, container: String::new(), exit: None }
    }

    fn of_container(
        status: &ContainerStatus,
        (namespace, pod): (&str, &str),
        what: &'static str,
        at: i64,
    ) -> Self {
        Self {
            at,
            what,
            kind: "container",
            id: status.id.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: status.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default(),
            exit: (what == "stopped").then(|| (status.exit_code, status.reason.clone())),
        }
    }

    /// One that the daemon tells of, with the pod as it was then.
    fn now(response: &ContainerEventResponse) -> Self {
        let what = match response.container_event_type() {
            ContainerEventType::ContainerCreatedEvent => "created",
            ContainerEventType::ContainerStartedEvent => "started",
            ContainerEventType::ContainerStoppedEvent => "stopped",
            ContainerEventType::ContainerDeletedEvent => "removed",
        };
        let status = response.pod_sandbox_status.clone().unwrap_or_default();
        let metadata = status.metadata.clone();
        let pod = PodSandbox {
            id: response.container_id.clone(),
            metadata: metadata.clone(),
            state: PodSandboxState::SandboxReady.into(),
            ..PodSandbox::default()
        };
        if status.id == response.container_id {
            return Self::of_pod(&pod, what, response.created_at);
        }
        let own = response.containers_statuses.iter().find(|one| one.id == response.container_id);
        // One that is removed is in no list any more.
        let gone = ContainerStatus { id: response.container_id.clone(), ..ContainerStatus::default() };
        Self::of_container(own.unwrap_or(&gone), pod_name(&pod), what, response.created_at)
    }

    fn line(&self) -> String {
        let name = if self.container.is_empty() { String::new() } else { format!("/{}", self.container) };
        let end = match &self.exit {
            Some((code, reason)) if reason.is_empty() => format!("  exit code {code}"),
            Some((code, reason)) => format!("  exit code {code}, {reason}"),
            None => String::new(),
        };
        let (at, kind, what) = (time::aligned(self.at), self.kind, self.what);
        format!("{at:<24}  {what:<7}  {kind:<9}  {}/{}{name}  {}{end}\n", self.namespace, self.pod, self.id)
    }

    fn json(&self) -> String {
        let value = json!({
            "time": time::rfc3339(self.at, 9), "event": self.what, "kind": self.kind, "id": self.id,
            "namespace": self.namespace, "pod": self.pod, "container": self.container,
            "exitCode": self.exit.as_ref().map(|(code, _)| code), "reason": self.exit.as_ref().map(|(_, reason)| reason),
        });
        format!("{value}\n")
    }
}

/// Ends with the reader of stdout.
fn tell(event: &Event, output: EventOutput) -> Result<(), Error> {
    let text = match output {
        EventOutput::Text => event.line(),
        EventOutput::Json => event.json(),
    };
    Ok(write(model::printable(&text).as_bytes())?)
}
