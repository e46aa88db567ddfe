//! The kubelet's /metrics/cadvisor, filled from here: families and samples.
//!
//! A sample's value is a whole number in the interface, so seconds are whole seconds. What the host does not count
//! has no sample, rather than a zero.

mod devices;
mod families;
mod samples;
#[cfg(test)]
mod tests;

use crate::encode::wire::{ITEMS, Wire};
use crate::proto::MetricDescriptor;
pub(crate) use devices::DeviceNames;
use engine::{ContainerFigures, Counted, PodFigures};
use model::SandboxMetadata;
use samples::Samples;

/// About so many bytes are a container's samples.
const A_CONTAINER: usize = 20 << 10;
/// And a pod's with a container.
const A_POD: usize = 2 * A_CONTAINER;

/// The families of which a host that counts this much has samples: a client may miss what is listed and never comes.
pub(crate) fn descriptors(counted: &Counted) -> Vec<MetricDescriptor> {
    let here = families::ALL.iter().filter(|family| family.is_counted(counted));
    here.map(families::Family::descriptor).collect()
}

/// A pod's samples and those of its containers. As with cAdvisor, those of the pod's cgroup have an empty name, so
/// that sums over named series count nothing twice.
pub(crate) fn pod(figures: &PodFigures, devices: &mut DeviceNames, to: &mut Wire) {
    let stats = &figures.stats;
    let name = &stats.config.metadata;
    to.message_of(A_POD, ITEMS, |to| {
        to.string(1, &stats.id);
        let own = labels(name, "", &figures.cgroup, "", "");
        let mut samples = Samples::new(own, stats.timestamp, devices, to);
        samples.times(stats.created_at);
        if let Some(usage) = &stats.usage {
            samples.usage(usage, &figures.detail);
        }
        let named = labels(name, "", &figures.cgroup, "", &stats.id);
        let mut traffic = Samples::new(named, stats.timestamp, devices, to);
        stats.interfaces.iter().flat_map(|all| all.iter()).for_each(|interface| traffic.network(interface));
        for container in &figures.containers {
            to.message_of(A_CONTAINER, 3, |to| of_container(name, container, devices, to));
        }
    });
}

fn of_container(pod: &SandboxMetadata, figures: &ContainerFigures, devices: &mut DeviceNames, to: &mut Wire) {
    let view = &figures.container;
    let image = [&view.config.image.user_specified_image, &view.config.image.image];
    let image = image.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    let labels = labels(pod, &view.config.metadata.name, &figures.cgroup, image, &view.id);
    let timestamp = figures.stats.usage.as_ref().map_or_else(crate::encode::now, |usage| usage.timestamp);
    to.string(1, &view.id);
    let mut samples = Samples::new(labels, timestamp, devices, to);
    samples.times(match view.state {
        model::ContainerState::Running { started_at } => started_at,
        _ => view.created_at,
    });
    if let Some(usage) = &figures.stats.usage {
        samples.usage(usage, &figures.detail);
    }
    samples.processes(figures);
    samples.filesystem(figures);
    samples.spec(&view.resources);
}

/// In the order of [`families::LABELS`].
fn labels<'a>(
    pod: &'a SandboxMetadata,
    container: &'a str,
    cgroup: &'a str,
    image: &'a str,
    name: &'a str,
) -> [&'a str; 6] {
    [container, cgroup, image, name, &pod.namespace, &pod.name]
}
