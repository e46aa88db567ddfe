//! What subscribers hear: of each thing what happened to it, in order and once.

use super::super::World;
use super::reference::{Reference, State};
use super::steps::Step;
use crate::events::EventKind;
use crate::{EngineError, Subscription};
use futures::FutureExt as _;
use std::collections::{BTreeMap, BTreeSet};

/// A subscriber of one daemon.
pub(super) struct Told {
    events: Subscription,
    last: BTreeMap<String, EventKind>,
    time: i64,
    /// What was made since it subscribed.
    pub(super) made: BTreeSet<String>,
}

impl Told {
    pub(super) fn new(world: &World) -> Self {
        Self { events: world.engine().subscribe(), last: BTreeMap::new(), time: 0, made: BTreeSet::new() }
    }

    /// Takes in what is there.
    pub(super) fn hear(&mut self, world: &World, after: &Step) {
        while let Some(event) = world.on(async { self.events.next().now_or_never() }) {
            let event = match event {
                Ok(event) => event,
                Err(error @ EngineError::Lagging { .. }) => panic!("{error}"),
                Err(_) => return,
            };
            assert!(event.timestamp > self.time, "after {after:?}: times run backwards");
            self.time = event.timestamp;
            let before = self.last.insert(event.id().to_owned(), event.kind);
            let is_next = matches!(
                (before, event.kind),
                (None, _)
                    | (
                        Some(EventKind::Created),
                        EventKind::Started | EventKind::Stopped | EventKind::Deleted
                    )
                    | (Some(EventKind::Started), EventKind::Stopped)
                    | (Some(EventKind::Stopped), EventKind::Deleted)
            );
            assert!(is_next, "after {after:?}: {} was {before:?} and is {:?}", event.id(), event.kind);
        }
    }

    /// What was heard last of something, and is not so.
    pub(super) fn difference(&self, reference: &Reference) -> Option<String> {
        let mut wanted: BTreeMap<&String, EventKind> =
            reference.gone.iter().map(|id| (id, EventKind::Deleted)).collect();
        for pod in reference.pods.values() {
            wanted.insert(&pod.id, if pod.is_ready { EventKind::Started } else { EventKind::Stopped });
            wanted.extend(pod.containers.values().map(|container| {
                let kind = match container.state {
                    State::Created => EventKind::Created,
                    State::Running => EventKind::Started,
                    State::Exited(_) => EventKind::Stopped,
                };
                (&container.id, kind)
            }));
        }
        let differs = |(id, kind): (&String, &EventKind)| {
            let wanted = wanted.get(id);
            let fits = wanted.is_none_or(|wanted| wanted == kind);
            (!fits).then(|| format!("{id} was told to be {kind:?} and is {wanted:?}"))
        };
        let silent = self.made.iter().find(|id| !self.last.contains_key(*id));
        let silent = silent.map(|id| format!("{id} was made and never told of"));
        silent.or_else(|| self.last.iter().find_map(differs))
    }
}
