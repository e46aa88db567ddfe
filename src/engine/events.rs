//! GetContainerEvents: what happens to pods and containers, in order, each event with the pod as it is then.

use crate::Engine;
use crate::error::EngineError;
use crate::in_memory::{Container, Pod};
use crate::limits::InForce;
use crate::registry::Registry;
use crate::snapshot::{ContainerView, PodView};
use model::{ContainerId, ContainerState};
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// A subscriber that is so many events behind is cut off.
const BEHIND_MAX: usize = 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It exists.
    Created,
    /// It runs.
    Started,
    /// It has ended.
    Stopped,
    /// It is forgotten.
    Deleted,
}

/// Something that happened to a container or to a pod.
#[derive(Debug, Clone)]
pub struct Event {
    /// The container; `None` where it happened to the pod itself.
    pub container: Option<ContainerId>,
    /// What happened to it.
    pub kind: EventKind,
    /// Unix time in nanoseconds: not before the moment of `pod` and `containers`, later in every later event.
    pub timestamp: i64,
    /// The pod, for one that is deleted as it was last.
    pub pod: PodView,
    /// All of its containers, newest first.
    pub containers: Vec<ContainerView>,
}

impl Event {
    /// The id of what it happened to.
    pub fn id(&self) -> &str {
        self.container.as_ref().map_or(self.pod.id.as_str(), ContainerId::as_str)
    }
}

/// Those who want to know, and what they are told.
pub(crate) struct Events {
    registry: Arc<Registry>,
    limits: Arc<InForce>,
    state: Mutex<State>,
}

struct State {
    /// `None` once the daemon ends.
    sender: Option<Sender<Arc<Event>>>,
    last: i64,
}

/// A subscriber's end.
pub struct Subscription(Option<Receiver<Arc<Event>>>);

impl Subscription {
    /// The next event.
    ///
    /// # Errors
    /// [`EngineError::Lagging`] when it came too late for it, [`EngineError::Ending`] when the daemon ends. Nothing
    /// more comes after either.
    pub async fn next(&mut self) -> Result<Arc<Event>, EngineError> {
        let Some(receiver) = &mut self.0 else { return Err(EngineError::Ending) };
        let received = receiver.recv().await;
        if received.is_err() {
            self.0 = None;
        }
        received.map_err(|error| match error {
            RecvError::Lagged(missed) => EngineError::Lagging { missed },
            RecvError::Closed => EngineError::Ending,
        })
    }
}

impl Engine {
    /// Everything that happens from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription(lock(&self.core.events.state).sender.as_ref().map(Sender::subscribe))
    }

    /// Ends all subscriptions, so that a daemon that ends need not wait for clients that would listen for ever.
    pub fn end_subscriptions(&self) {
        lock(&self.core.events.state).sender = None;
    }
}

impl Events {
    pub(crate) fn new(registry: Arc<Registry>, limits: Arc<InForce>) -> Self {
        let state = State { sender: Some(channel(BEHIND_MAX).0), last: 0 };
        Self { registry, limits, state: Mutex::new(state) }
    }

    /// Tells what has happened to a container. Never waits for anybody.
    pub(crate) fn tell(&self, container: &Container, kind: EventKind) {
        self.tell_of(Some(&container.id), kind, &container.pod);
    }

    /// Tells what has happened to a pod, if a client has ever seen it.
    pub(crate) fn tell_pod(&self, pod: &Pod, kind: EventKind) {
        if pod.is_published() {
            self.tell_of(None, kind, pod);
        }
    }

    fn tell_of(&self, container: Option<&ContainerId>, kind: EventKind, pod: &Pod) {
        // Held from the snapshot to the sending: a later event of the pod never shows an earlier state of it.
        let _in_order = lock(&pod.telling);
        let is_heard = |sender: &Sender<_>| sender.receiver_count() > 0;
        if !lock(&self.state).sender.as_ref().is_some_and(is_heard) {
            return;
        }
        let containers = self.limits.shown_of(&self.registry, &pod.id);
        let pod = pod.view();
        let mut state = lock(&self.state);
        let Some(sender) = state.sender.clone() else { return };
        let timestamp = crate::now().max(state.last + 1);
        state.last = timestamp;
        let event = Event { container: container.cloned(), kind, timestamp, pod, containers };
        // Without receivers there is nobody to be told.
        let _ = sender.send(Arc::new(event));
    }

    /// Tells of the state that a container is in now.
    pub(crate) fn tell_state(&self, container: &Container) {
        match container.state() {
            ContainerState::Created => self.tell(container, EventKind::Created),
            ContainerState::Running { .. } => self.tell(container, EventKind::Started),
            ContainerState::Exited { .. } => self.tell(container, EventKind::Stopped),
        }
    }
}
