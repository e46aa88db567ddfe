//! The kubelet's /metrics/cadvisor, filled from here: families and samples.
//!
//! A sample's value is a whole number in the interface, so seconds are whole seconds. What the host does not count
//! has no sample, rather than a zero.

mod families;
mod samples;
#[cfg(test)]
mod tests;

use crate::encode::wire::Wire;
use crate::proto::{ITEMS, MetricDescriptor};
use engine::{ContainerFigures, Counted, PodFigures};
use model::SandboxMetadata;
use samples::Samples;

/// The families of which a host that counts this much has samples: a client may miss what is listed and never comes.
pub(crate) fn descriptors(counted: &Counted) -> Vec<MetricDescriptor> {
    let here = families::ALL.iter().filter(|family| family.is_counted(counted));
    here.map(families::Family::descriptor).collect()
}

/// A pod's samples and those of its containers. As with cAdvisor, those of the pod's cgroup have an empty name, so
/// that sums over named series count nothing twice.
pub(crate) fn pod(figures: &PodFigures, to: &mut Wire) {
    let stats = &figures.stats;
    let name = &stats.config.metadata;
    to.message(ITEMS, |to| {
        to.string(1, &stats.id);
        let mut samples = Samples::new(labels(name, "", &figures.cgroup, "", ""), stats.timestamp, to);
        samples.times(stats.created_at);
        if let Some(usage) = &stats.usage {
            samples.usage(usage, &figures.detail);
        }
        let mut traffic = Samples::new(labels(name, "", &figures.cgroup, "", &stats.id), stats.timestamp, to);
        stats.interfaces.iter().flatten().for_each(|interface| traffic.network(interface));
        for container in &figures.containers {
            to.message(3, |to| of_container(name, container, to));
        }
    });
}

fn of_container(pod: &SandboxMetadata, figures: &ContainerFigures, to: &mut Wire) {
    let view = &figures.container;
    let image = [&view.config.image.user_specified_image, &view.config.image.image];
    let image = image.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    let labels = labels(pod, &view.config.metadata.name, &figures.cgroup, image, &view.id);
    let timestamp = figures.stats.usage.as_ref().map_or_else(crate::encode::now, |usage| usage.timestamp);
    to.string(1, &view.id);
    let mut samples = Samples::new(labels, timestamp, to);
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
