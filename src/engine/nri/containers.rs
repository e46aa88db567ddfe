//! What plugins are asked and told of containers.

use super::{Turn, view};
use crate::error::{EngineError, chain};
use crate::in_memory::{Container, Pod};
use crate::{Containers, Core};
use model::Resources;
use nri::Section;
use nri::api::{self, Event};
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a container waits for what plugins are being told of it.
const TURN: Duration = Duration::from_secs(5);

impl Core {
    /// Opens what plugins are asked and told of one change of a container.
    pub(crate) fn section(&self, event: Event) -> Section {
        self.nri.section(event)
    }

    /// The turn of a change of a container, once plugins have heard of the one before it.
    pub(crate) async fn turn(&self, container: &Container) -> Turn {
        match container.nri.at_once() {
            Some(turn) => turn,
            None => self.stage("nri", container.nri.in_order()).await,
        }
    }

    /// A container is published. What plugins that join have missed is told them.
    pub(crate) async fn tell_created(
        self: &Arc<Self>,
        container: &Arc<Container>,
        mut section: Section,
        turn: Turn,
    ) {
        self.commit(container, &mut section).await;
        failpoint::pass!("engine.plugins.create_committed");
        self.tell_behind(container, Event::PostCreateContainer, section, turn);
    }

    /// Tells of a change that has been made, of which plugins can change nothing: nobody waits for them but the
    /// container's next change.
    fn tell_behind(
        self: &Arc<Self>,
        container: &Arc<Container>,
        event: Event,
        mut section: Section,
        turn: Turn,
    ) {
        if !section.wants(event) {
            return;
        }
        let (core, container, moment) = (self.clone(), container.clone(), view::Moment::of(container));
        let tell = async move {
            let tell = async {
                let pod = view::pod(&container.pod);
                section.post(event, pod, view::container(&container, moment).await).await
            };
            let told = core.stage("nri", Box::pin(tell)).await;
            told.unwrap_or_else(|error| warn(&container, nri::method(event), &error));
            match event {
                Event::PostCreateContainer => failpoint::pass!("engine.plugins.create_told"),
                Event::PostStartContainer => failpoint::pass!("engine.plugins.start_told"),
                _ => failpoint::pass!("engine.plugins.update_told"),
            }
            drop(turn);
        };
        drop(self.work.spawn_on(tell, &self.reactor));
    }

    /// Asks plugins whether a container may be started.
    pub(crate) async fn ask_start(&self, container: &Arc<Container>) -> Result<Section, EngineError> {
        let mut section = self.nri.section(Event::StartContainer);
        if !section.is_idle() {
            let ask = async {
                let (pod, shown) = self.both(container).await;
                section.start_container(pod, shown).await
            };
            self.stage("nri", Box::pin(ask)).await?;
            failpoint::reach!("engine.plugins.start_asked")?;
        }
        Ok(section)
    }

    /// A container runs.
    pub(crate) async fn tell_started(
        self: &Arc<Self>,
        container: &Arc<Container>,
        mut section: Section,
        turn: Turn,
    ) {
        self.commit(container, &mut section).await;
        self.tell_behind(container, Event::PostStartContainer, section, turn);
        container.nri.forget_spec();
    }

    /// Asks plugins whether a container may have other limits; what it is to have, and what is to become of others.
    pub(crate) async fn ask_update(
        &self,
        container: &Arc<Container>,
        change: Resources,
        section: &mut Section,
    ) -> Result<(Resources, nri::merge::Updates), EngineError> {
        if section.is_idle() {
            return Ok((change, nri::merge::Updates::default()));
        }
        let asked = nri::view::of_request(&change);
        let ask = async {
            let (pod, shown) = self.both(container).await;
            section.update_container(pod, shown, asked.clone()).await
        };
        let (limits, updates) = self.stage("nri", Box::pin(ask)).await?;
        failpoint::reach!("engine.plugins.update_asked")?;
        if limits == asked {
            return Ok((change, updates));
        }
        let altered = nri::view::change_of(&limits)
            .map_err(|error| EngineError::from(error).asked_by(updates.asked_by(&container.id)))?;
        Ok((Resources { oom_score_adj: change.oom_score_adj, ..altered }, updates))
    }

    /// A container has other limits.
    pub(crate) async fn tell_updated(
        self: &Arc<Self>,
        container: &Arc<Container>,
        mut section: Section,
        turn: Turn,
    ) {
        container.nri.forget_spec();
        self.commit(container, &mut section).await;
        self.tell_behind(container, Event::PostUpdateContainer, section, turn);
    }

    /// What plugins are told of a container that is about to be forgotten.
    pub(crate) async fn begin_removing(&self, container: &Arc<Container>) -> Removed {
        let section = self.nri.section(Event::RemoveContainer);
        let is_known = container.nri.is_asked() || container.is_published();
        // Afterwards there is no spec any more.
        let shown = if is_known && !section.is_idle() {
            Some(Box::new(Box::pin(self.both(container)).await))
        } else {
            None
        };
        Removed { is_known, shown, section }
    }

    /// Tells plugins that a container is forgotten.
    pub(crate) async fn tell_removed(&self, container: &Arc<Container>, removed: Removed) {
        let Removed { is_known, shown, mut section } = removed;
        if !is_known {
            return;
        }
        if let Some(both) = shown {
            let (pod, shown) = *both;
            let told = self.stage("nri", Box::pin(section.remove_container(pod, shown))).await;
            told.unwrap_or_else(|error| warn(container, "RemoveContainer", &error));
            failpoint::pass!("engine.plugins.remove_told");
        }
        self.commit(container, &mut section).await;
    }

    async fn commit(&self, container: &Arc<Container>, section: &mut Section) {
        Box::pin(section.commit(|| (view::pod(&container.pod), Some(view::now(container))))).await;
    }

    /// A container with its pod.
    async fn both(&self, container: &Arc<Container>) -> (api::PodSandbox, api::Container) {
        let moment = view::Moment::of(container);
        (view::pod(&container.pod), view::container(container, moment).await)
    }
}

impl Containers {
    /// Tells plugins that a container has ended: once, whoever comes first. The section was opened before its end was
    /// published, where the caller did that.
    pub(crate) async fn tell_stopped(self: &Arc<Self>, container: &Arc<Container>, section: Section) {
        if !container.nri.is_asked() && !container.is_published() {
            return;
        }
        let tell = Box::pin(async {
            let mut section = section;
            if !section.is_idle() {
                // A start that hangs hears of no end either.
                let _order = tokio::time::timeout(TURN, container.nri.in_order()).await;
                let (pod, shown) = self.core().both(container).await;
                match self.core().stage("nri", section.stop_container(pod, shown)).await {
                    Ok(updates) => self.follow(updates, "StopContainer").await,
                    Err(error) => warn(container, "StopContainer", &error),
                }
                failpoint::pass!("engine.plugins.stop_told");
            }
            self.core().commit(container, &mut section).await;
        });
        container.nri.stopped.get_or_init(|| tell).await;
    }

    /// Tells plugins that a container which they were asked about does not come to be.
    pub(super) async fn tell_unmade(self: &Arc<Self>, pod: &Pod, shown: api::Container) {
        let mut section = self.core().nri.section(Event::StopContainer);
        if !section.is_idle() {
            match section.stop_container(view::pod(pod), shown.clone()).await {
                Ok(updates) => self.follow(updates, "StopContainer").await,
                Err(error) => {
                    warn_of(&shown.id, "StopContainer", &error);
                }
            }
        }
        let mut section = self.core().nri.section(Event::RemoveContainer);
        if !section.is_idle() {
            let id = shown.id.clone();
            if let Err(error) = section.remove_container(view::pod(pod), shown).await {
                warn_of(&id, "RemoveContainer", &error);
            }
            failpoint::pass!("engine.plugins.unmade_told");
        }
    }

    /// The same behind: who publishes an end waits for no plugin.
    pub(crate) fn tell_stopped_behind(self: &Arc<Self>, container: &Arc<Container>, section: Section) {
        let (this, container) = (self.clone(), container.clone());
        let tell = async move { this.tell_stopped(&container, section).await };
        let core = self.core();
        drop(core.work.spawn_on(tell, &core.reactor));
    }

    /// The same for a container that ended before.
    pub(crate) async fn tell_end(self: &Arc<Self>, container: &Arc<Container>) {
        let section = self.core().nri.section(Event::StopContainer);
        self.tell_stopped(container, section).await;
    }
}

/// A container that is about to be forgotten.
pub(crate) struct Removed {
    is_known: bool,
    shown: Option<Box<(api::PodSandbox, api::Container)>>,
    section: Section,
}

/// What has happened already, or is on its way out, goes on without its plugins.
fn warn(container: &Container, request: &'static str, error: &nri::Error) {
    warn_of(&container.id, request, error);
}

fn warn_of(container_id: &str, request: &'static str, error: &nri::Error) {
    tracing::warn!(container_id, request, error = chain(error), "a plugin fails");
}
