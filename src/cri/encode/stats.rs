//! Usage of containers and pods: the messages ContainerStats and PodSandboxStats, written straight from what was read.

use super::wire::{ITEMS, Wire};
use engine::{ContainerStats, Interface, LayerUsage, PodStats, Pressure, Stall, Usage};
use model::{ContainerMetadata, SandboxMetadata};

/// Of a message with an id in it and more, the least length that takes two bytes.
const LONG: usize = 1 << 7;

/// A container's usage; without CPU, memory and swap once it has ended.
pub(crate) fn container(stats: &ContainerStats, to: &mut Wire) {
    of_container(ITEMS, stats, to);
}

/// A pod's usage.
pub(crate) fn pod(stats: &PodStats, to: &mut Wire) {
    to.message_of(LONG, ITEMS, |to| {
        to.message_of(LONG, 1, |to| {
            to.string(1, &stats.id);
            to.message(2, |to| pod_name(&stats.config.metadata, to));
            to.map(3, &stats.config.labels);
            to.map(4, &stats.config.annotations);
        });
        to.message_of(LONG, 2, |to| linux(stats, to));
    });
}

fn linux(stats: &PodStats, to: &mut Wire) {
    if let Some(usage) = &stats.usage {
        to.message(1, |to| cpu(usage, to));
        to.message(2, |to| memory(usage, to));
    }
    if let Some(interfaces) = &stats.interfaces {
        to.message(3, |to| network(interfaces, stats.timestamp, to));
    }
    to.message(4, |to| {
        to.int64(1, stats.timestamp);
        to.value(2, stats.processes);
    });
    stats.containers.iter().for_each(|container| of_container(5, container, to));
    if let Some(usage) = &stats.usage {
        io(usage, to);
    }
}

fn of_container(number: u32, stats: &ContainerStats, to: &mut Wire) {
    to.message_of(LONG, number, |to| {
        to.message_of(LONG, 1, |to| {
            to.string(1, &stats.id);
            to.message(2, |to| container_name(&stats.config.metadata, to));
            to.map(3, &stats.config.labels);
            to.map(4, &stats.config.annotations);
        });
        if let Some(usage) = &stats.usage {
            to.message(2, |to| cpu(usage, to));
            to.message(3, |to| memory(usage, to));
        }
        to.message(4, |to| layer(&stats.layer, to));
        if let Some(usage) = &stats.usage {
            swap(usage, to);
            io(usage, to);
        }
    });
}

fn pod_name(metadata: &SandboxMetadata, to: &mut Wire) {
    to.string(1, &metadata.name);
    to.string(2, &metadata.uid);
    to.string(3, &metadata.namespace);
    to.uint64(4, metadata.attempt.into());
}

fn container_name(metadata: &ContainerMetadata, to: &mut Wire) {
    to.string(1, &metadata.name);
    to.uint64(2, metadata.attempt.into());
}

fn cpu(usage: &Usage, to: &mut Wire) {
    to.int64(1, usage.timestamp);
    to.value(2, usage.stats.cpu_usage_ns);
    to.value(3, usage.nano_cores);
    pressure(4, usage.stats.cpu_pressure.as_ref(), to);
}

fn memory(usage: &Usage, to: &mut Wire) {
    let stats = &usage.stats;
    to.int64(1, usage.timestamp);
    to.value(2, stats.memory_working_set);
    if let Some(limit) = stats.memory_limit {
        to.value(3, limit.saturating_sub(stats.memory_working_set));
    }
    to.value(4, stats.memory_usage);
    to.value(5, stats.memory_rss);
    to.value(6, stats.page_faults);
    to.value(7, stats.major_page_faults);
    pressure(8, stats.memory_pressure.as_ref(), to);
}

/// Nothing where the host does not count swap.
fn swap(usage: &Usage, to: &mut Wire) {
    let Some(used) = usage.stats.swap_usage else { return };
    to.message(5, |to| {
        to.int64(1, usage.timestamp);
        if let Some(limit) = usage.stats.swap_limit {
            to.value(2, limit.saturating_sub(used));
        }
        to.value(3, used);
    });
}

/// Nothing where the host does not count pressure.
fn io(usage: &Usage, to: &mut Wire) {
    let Some(waited) = &usage.stats.io_pressure else { return };
    to.message(6, |to| {
        to.int64(1, usage.timestamp);
        pressure(2, Some(waited), to);
    });
}

fn pressure(number: u32, both: Option<&Pressure>, to: &mut Wire) {
    let Some(both) = both else { return };
    to.message(number, |to| {
        to.message(1, |to| stall(&both.full, to));
        to.message(2, |to| stall(&both.some, to));
    });
}

fn stall(stall: &Stall, to: &mut Wire) {
    to.uint64(1, stall.total_us.saturating_mul(1000));
    to.double(2, stall.avg10);
    to.double(3, stall.avg60);
    to.double(4, stall.avg300);
}

fn layer(layer: &LayerUsage, to: &mut Wire) {
    to.int64(1, layer.timestamp);
    to.message(2, |to| to.string(1, &layer.mountpoint.to_string_lossy()));
    if let Some((bytes, inodes)) = layer.counted {
        to.value(3, bytes);
        to.value(4, inodes);
    }
}

/// The first is the pod's own.
fn network(interfaces: &[Interface], timestamp: i64, to: &mut Wire) {
    to.int64(1, timestamp);
    for (interface, number) in interfaces.iter().zip([2].into_iter().chain(std::iter::repeat(3))) {
        to.message(number, |to| {
            to.string(1, &interface.name);
            to.value(2, interface.received.bytes);
            to.value(3, interface.received.errors);
            to.value(4, interface.sent.bytes);
            to.value(5, interface.sent.errors);
        });
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
