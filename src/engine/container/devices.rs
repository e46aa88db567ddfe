//! Devices of the host's network, which plugins want in a container's pod.

use crate::Containers;
use crate::error::EngineError;
use crate::in_memory::{Container, Pod};
use model::ContainerState;
use net::Devices;
use oci_spec::runtime::Spec;

impl Containers {
    /// Moves what the container is to have into its pod. Blocks.
    pub(super) fn take_devices(&self, container: &Container, spec: &Spec) -> Result<(), EngineError> {
        let wanted = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
        let Some(wanted) = wanted else { return Ok(()) };
        let Some(netns) = container.pod.netns() else { return Ok(()) };
        let mut wanted: Vec<_> = wanted.iter().collect();
        wanted.sort_by_key(|(host, _)| *host);
        let journal = container.pod.files.devices();
        let devices = Devices { journal: &journal, netns: &netns };
        let is_dead = |id: &str| {
            let known = self.core.registry.any_container(id);
            known.is_none_or(|known| matches!(known.state(), ContainerState::Exited { .. }))
        };
        for (host, device) in wanted {
            let inside = device.name().as_deref().unwrap_or(host);
            devices.take(&container.id, (host, inside), is_dead)?;
        }
        Ok(())
    }
}

/// Moves back what a container of the pod has, or all that the pod has. Blocks.
pub(crate) fn give_back(pod: &Pod, container: Option<&str>) -> Result<(), EngineError> {
    let journal = pod.files.devices();
    match pod.netns() {
        Some(netns) => Ok(Devices { journal: &journal, netns: &netns }.give_back(container)?),
        None => Ok(()),
    }
}
