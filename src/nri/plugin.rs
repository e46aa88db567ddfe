//! A plugin that is connected: what it is asked, and what comes of it when it does not answer.

use crate::api::{
    Container, ContainerState, Empty, Event, FailurePolicy, PodSandbox, StateChangeEvent,
    ValidateContainerAdjustmentResponse,
};
use crate::bounds::{self, Sent};
use crate::counters::{Counters, Outcome};
use crate::error::{Error, NriResult};
use crate::link::{CallError, Link};
use crate::status::{Origin, PluginStatus};
use crate::ttrpc::{Status, code};
use prost::Message;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// How far a plugin has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is being told of everything that is there.
    Joining,
    /// It is asked.
    Ready,
    /// It is not there any more.
    Gone,
}

/// Who a plugin is, and what it wants.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) index: String,
    pub(crate) base: String,
    pub(crate) origin: Origin,
    pub(crate) pid: Option<u32>,
    pub(crate) events: u32,
    pub(crate) policy: FailurePolicy,
}

/// A plugin.
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) counters: Arc<Counters>,
    link: Link,
    phase: watch::Sender<Phase>,
    since: SystemTime,
    /// Containers that had ended when it was told of everything that is there.
    ended_before: OnceLock<BTreeSet<String>>,
    /// Events for which it has no method.
    without_method: AtomicU32,
    asked: Mutex<Vec<Asked>>,
}

/// Something that it is asked at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    request: &'static str,
    at: Instant,
}

struct Asking<'a>(&'a Plugin, Asked);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = asked.iter().position(|asked| *asked == self.1) {
            asked.swap_remove(at);
        }
    }
}

/// What a plugin is told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) pod: &'a PodSandbox,
    pub(crate) container: Option<&'a Container>,
}

impl Subject<'_> {
    /// For the log.
    fn words(&self) -> String {
        let pod = format!("pod {}/{} ({})", self.pod.namespace, self.pod.name, self.pod.id);
        match self.container {
            Some(container) => format!("container {} ({}) of {pod}", container.name, container.id),
            None => pod,
        }
    }
}

/// The method of an event.
pub fn method(event: Event) -> &'static str {
    match event {
        Event::RunPodSandbox => "RunPodSandbox",
        Event::StopPodSandbox => "StopPodSandbox",
        Event::RemovePodSandbox => "RemovePodSandbox",
        Event::CreateContainer => "CreateContainer",
        Event::PostCreateContainer => "PostCreateContainer",
        Event::StartContainer => "StartContainer",
        Event::PostStartContainer => "PostStartContainer",
        Event::UpdateContainer => "UpdateContainer",
        Event::PostUpdateContainer => "PostUpdateContainer",
        Event::StopContainer => "StopContainer",
        Event::RemoveContainer => "RemoveContainer",
        Event::UpdatePodSandbox => "UpdatePodSandbox",
        Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
        Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        Event::Unknown | Event::Last => "StateChange",
    }
}

/// The bit of an event.
pub(crate) fn bit(event: Event) -> u32 {
    1u32.checked_shl((event as u32).wrapping_sub(1)).unwrap_or_default()
}

impl Plugin {
    pub(crate) fn new(identity: Identity, link: Link, counters: Arc<Counters>) -> Self {
        Self {
            name: format!("{}-{}", identity.index, identity.base),
            identity,
            counters,
            link,
            phase: watch::Sender::new(Phase::Joining),
            since: SystemTime::now(),
            ended_before: OnceLock::new(),
            without_method: AtomicU32::new(0),
            asked: Mutex::default(),
        }
    }

    /// Notes what it is told of when it joins.
    pub(crate) fn joins_with(&self, containers: &[Container]) {
        let ended = containers.iter().filter(|one| one.state() == ContainerState::ContainerStopped);
        // It joins once.
        let _ = self.ended_before.set(ended.map(|one| one.id.clone()).collect());
    }

    /// Whether the end of a container is no news to it.
    pub(crate) fn knows_the_end_of(&self, container: &str) -> bool {
        self.ended_before.get().is_some_and(|ended| ended.contains(container))
    }

    /// Whether it has subscribed to an event.
    pub(crate) fn wants(&self, event: Event) -> bool {
        self.identity.events & bit(event) != 0
    }

    /// Notes how far it has come, and returns how far it was.
    pub(crate) fn advance(&self, phase: Phase) -> Phase {
        self.phase.send_replace(phase)
    }

    /// Waits until it knows of everything that is there. `false`: it is gone.
    pub(crate) async fn is_ready(&self) -> bool {
        let phase = *self.phase.borrow();
        match phase {
            Phase::Joining => {
                let mut phase = self.phase.subscribe();
                let phase = phase.wait_for(|phase| *phase != Phase::Joining).await;
                phase.is_ok_and(|phase| *phase == Phase::Ready) && !self.link.is_ended()
            }
            Phase::Ready => !self.link.is_ended(),
            Phase::Gone => false,
        }
    }

    /// Asks, and counts how it went.
    pub(crate) async fn call(
        &self,
        request: &'static str,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let asked = Asked { request, at: Instant::now() };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let asking = Asking(self, asked);
        let result = self.link.call((SERVICE, request), payload, limit).await;
        drop(asking);
        let outcome = match &result {
            Ok(_) => Outcome::Answered,
            Err(CallError::Status { .. }) => Outcome::Refused,
            Err(_) => Outcome::Unanswered,
        };
        self.counters.called(request, outcome, asked.at.elapsed());
        result
    }

    /// Asks for something that the request depends on. `None`: the request goes on without the plugin.
    ///
    /// # Errors
    /// The request fails.
    pub(crate) async fn ask<R: Sent>(
        &self,
        (event, subject): (Event, Subject<'_>),
        payload: Vec<u8>,
        limit: Duration,
    ) -> NriResult<Option<R>> {
        match self.answered(event, payload, limit).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => self.failed(event, subject, error).map(|()| None),
        }
    }

    /// Asks whether a container may be as plugins want it. One that does not answer is let go as with any other request, but
    /// what it has not agreed to is not to be.
    ///
    /// # Errors
    /// Why there is no verdict.
    pub(crate) async fn judge(
        &self,
        subject: Subject<'_>,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<ValidateContainerAdjustmentResponse, String> {
        let event = Event::ValidateContainerAdjustment;
        let answer = self.answered(event, payload, limit).await;
        answer.map_err(|error| {
            let reason = error.to_string();
            // Whatever its policy says of requests, this one fails.
            let _ = self.failed(event, subject, error);
            reason
        })
    }

    async fn answered<R: Sent>(
        &self,
        event: Event,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<R, CallError> {
        let bytes = self.call(method(event), payload, limit).await?;
        bounds::decode(&bytes).map_err(CallError::Malformed)
    }

    /// Tells of something.
    ///
    /// # Errors
    /// The request fails.
    pub(crate) async fn tell(
        &self,
        (event, subject): (Event, Subject<'_>),
        payload: Vec<u8>,
        limit: Duration,
    ) -> NriResult<()> {
        let has_no_method = || self.without_method.load(Ordering::Relaxed) & bit(event) != 0;
        let mut told = Ok(Vec::new());
        if !has_no_method() {
            told = self.call(method(event), payload, limit).await;
            if matches!(told, Err(CallError::Status { code: code::UNIMPLEMENTED, .. })) {
                self.without_method.fetch_or(bit(event), Ordering::Relaxed);
            }
        }
        // A pod's update is younger than the general event.
        if has_no_method() {
            told = if event == Event::UpdatePodSandbox {
                Ok(Vec::new())
            } else {
                self.call("StateChange", state_change(event, subject), limit).await
            };
        }
        let told = told.and_then(|bytes| {
            Empty::decode(bytes.as_slice()).map_err(|error| CallError::Malformed(error.to_string()))
        });
        match told {
            Ok(Empty {}) => Ok(()),
            Err(error) => self.failed(event, subject, error),
        }
    }

    /// What comes of a call without a result.
    fn failed(&self, event: Event, subject: Subject<'_>, error: CallError) -> NriResult<()> {
        let (plugin, request) = (self.name.clone(), method(event));
        if let CallError::Status { message, .. } = error {
            return Err(Error::Refused { plugin, request, message });
        }
        let subject = subject.words();
        let is_kept = match error {
            CallError::Timeout(_) => self.identity.policy.keep_connected,
            CallError::Oversized(_) => true,
            _ => false,
        };
        let fails = self.identity.policy.fail_request;
        tracing::warn!(
            %plugin, request, %error, held_up = %subject, disconnected = !is_kept, request_fails = fails,
            "a plugin left a request without an answer"
        );
        if !is_kept {
            self.link.end(&format!("{request} of {subject}: {error}"));
        }
        if fails { Err(Error::Unanswered { plugin, request, reason: error.to_string() }) } else { Ok(()) }
    }

    /// Answers what it has asked.
    pub(crate) async fn answer(&self, stream: u32, result: Result<Vec<u8>, Status>) {
        self.link.answer(stream, result).await;
    }

    /// Waits until the connection has ended, and says how.
    pub(crate) async fn ended(&self) -> String {
        self.link.ended().await
    }

    /// Ends the connection.
    pub(crate) fn end(&self, reason: &str) {
        self.link.end(reason);
    }

    pub(crate) fn status(&self) -> PluginStatus {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = asked.iter().min_by_key(|asked| asked.at);
        PluginStatus {
            name: self.name.clone(),
            origin: self.identity.origin,
            pid: self.identity.pid,
            connected: *self.phase.borrow() == Phase::Ready,
            since: self.since,
            absence: None,
            events: self.identity.events,
            pending: oldest.map(|asked| (asked.request, asked.at.elapsed())),
            restarts: self.counters.restarts(),
            last_end: self.counters.last_end(),
            calls: self.counters.calls(),
        }
    }
}

fn state_change(event: Event, subject: Subject<'_>) -> Vec<u8> {
    let (pod, container) = (Some(subject.pod.clone()), subject.container.cloned());
    StateChangeEvent { event: event.into(), pod, container }.encode_to_vec()
}
