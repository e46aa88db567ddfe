//! What is shown of them.

use super::{Container, Pod};
use crate::filter::StateKind;
use crate::snapshot::{ContainerBrief, ContainerView, PodBrief, PodView, UserView};
use model::ContainerState;
use std::sync::atomic::Ordering;
use sys::sync::lock;

impl Pod {
    pub(crate) fn brief(&self) -> PodBrief {
        let record = lock(&self.record);
        PodBrief { config: record.config.clone(), state: record.state, created_at: record.created_at }
    }

    pub(crate) fn view(&self) -> PodView {
        let record = lock(&self.record);
        PodView {
            id: self.id.clone(),
            config: record.config.clone(),
            state: record.state,
            created_at: record.created_at,
            ips: record.attachment.as_ref().map(|attachment| attachment.ips.clone()).unwrap_or_default(),
            handler: record.handler.clone(),
        }
    }
}

impl Container {
    pub(crate) fn brief(&self) -> ContainerBrief {
        let record = lock(&self.record);
        ContainerBrief {
            config: record.config.clone(),
            state: StateKind::of(&record.state),
            created_at: record.created_at,
        }
    }

    pub(crate) fn view(&self) -> ContainerView {
        let record = lock(&self.record);
        ContainerView {
            id: self.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            config: record.config.clone(),
            resources: record.resources().clone(),
            state: record.state.clone(),
            created_at: record.created_at,
            image_id: record.image_id.clone(),
            image_ref: record.image_ref.clone(),
            image_volumes: record
                .image_volumes
                .iter()
                .map(|volume| (volume.mount, volume.image_ref.clone()))
                .collect(),
            log_path: record.log_path.clone(),
            user: UserView { uid: record.uid, gid: record.gid, groups: record.groups.clone() },
            pid: match record.state {
                ContainerState::Exited { .. } => None,
                _ => Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid > 0),
            },
            stop_signal: record.stop_signal,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lock;
    use crate::tests::World;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn limits_are_read_while_somebody_holds_the_record() {
        let world = World::new();
        let engine = world.engine();
        let container = world.running(&world.pod("web"), "app");
        let container = engine.core.registry.container(&container).unwrap();
        let view = container.view();
        let (tell, told) = mpsc::channel();
        // As an exit does, which closes the sampler then.
        let held = lock(&container.record);
        std::thread::spawn({
            let (core, container) = (engine.core.clone(), container.clone());
            move || {
                container.sampler.limits(|| core.limits.in_force(&container, &view));
                tell.send(()).unwrap();
            }
        });
        let told = told.recv_timeout(Duration::from_secs(20));
        assert!(told.is_ok(), "it waits for the record, and holds the sampler");
        container.sampler.close();
        drop(held);
    }
}
