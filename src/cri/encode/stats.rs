//! Usage of containers and pods.

use super::{container, sandbox};
use crate::proto;
use engine::{ContainerStats, Interface, LayerUsage, PodStats, Pressure, Stall, Usage};

/// A container's usage; without `cpu`, `memory` and `swap` once it has ended.
pub(crate) fn of_container(stats: &ContainerStats) -> proto::ContainerStats {
    let view = &stats.container;
    proto::ContainerStats {
        attributes: Some(proto::ContainerAttributes {
            id: view.id.to_string(),
            metadata: Some(container::metadata(&view.config.metadata)),
            labels: view.config.labels.clone(),
            annotations: view.config.annotations.clone(),
        }),
        cpu: stats.usage.as_ref().map(cpu),
        memory: stats.usage.as_ref().map(memory),
        writable_layer: Some(layer(&stats.layer)),
        swap: stats.usage.as_ref().and_then(swap),
        io: stats.usage.as_ref().and_then(io),
    }
}

/// A pod's usage.
pub(crate) fn of_pod(stats: &PodStats) -> proto::PodSandboxStats {
    let view = &stats.pod;
    proto::PodSandboxStats {
        attributes: Some(proto::PodSandboxAttributes {
            id: view.id.to_string(),
            metadata: Some(sandbox::metadata(&view.config.metadata)),
            labels: view.config.labels.clone(),
            annotations: view.config.annotations.clone(),
        }),
        linux: Some(proto::LinuxPodSandboxStats {
            cpu: stats.usage.as_ref().map(cpu),
            memory: stats.usage.as_ref().map(memory),
            network: stats.interfaces.as_ref().map(|interfaces| network(interfaces, stats.timestamp)),
            process: Some(proto::ProcessUsage {
                timestamp: stats.timestamp,
                process_count: value(stats.processes),
            }),
            containers: stats.containers.iter().map(of_container).collect(),
            io: stats.usage.as_ref().and_then(io),
        }),
        windows: None,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the interface wraps every number")]
fn value(value: u64) -> Option<proto::UInt64Value> {
    Some(proto::UInt64Value { value })
}

fn cpu(usage: &Usage) -> proto::CpuUsage {
    proto::CpuUsage {
        timestamp: usage.timestamp,
        usage_core_nano_seconds: value(usage.stats.cpu_usage_ns),
        usage_nano_cores: value(usage.nano_cores),
        psi: usage.stats.cpu_pressure.as_ref().map(pressure),
    }
}

fn memory(usage: &Usage) -> proto::MemoryUsage {
    let stats = &usage.stats;
    let available = stats.memory_limit.map(|limit| limit.saturating_sub(stats.memory_working_set));
    proto::MemoryUsage {
        timestamp: usage.timestamp,
        working_set_bytes: value(stats.memory_working_set),
        available_bytes: available.and_then(value),
        usage_bytes: value(stats.memory_usage),
        rss_bytes: value(stats.memory_rss),
        page_faults: value(stats.page_faults),
        major_page_faults: value(stats.major_page_faults),
        psi: stats.memory_pressure.as_ref().map(pressure),
    }
}

/// Nothing where the host does not count swap.
fn swap(usage: &Usage) -> Option<proto::SwapUsage> {
    let used = usage.stats.swap_usage?;
    let available = usage.stats.swap_limit.map(|limit| limit.saturating_sub(used));
    Some(proto::SwapUsage {
        timestamp: usage.timestamp,
        swap_available_bytes: available.and_then(value),
        swap_usage_bytes: value(used),
    })
}

/// Nothing where the host does not count pressure.
fn io(usage: &Usage) -> Option<proto::IoUsage> {
    let psi = usage.stats.io_pressure.as_ref().map(pressure)?;
    Some(proto::IoUsage { timestamp: usage.timestamp, psi: Some(psi) })
}

fn pressure(both: &Pressure) -> proto::PsiStats {
    let data = |stall: &Stall| proto::PsiData {
        total: stall.total_us.saturating_mul(1000),
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    proto::PsiStats { full: Some(data(&both.full)), some: Some(data(&both.some)) }
}

fn layer(layer: &LayerUsage) -> proto::FilesystemUsage {
    proto::FilesystemUsage {
        timestamp: layer.timestamp,
        fs_id: Some(proto::FilesystemIdentifier { mountpoint: layer.mountpoint.display().to_string() }),
        used_bytes: layer.counted.and_then(|(bytes, _)| value(bytes)),
        inodes_used: layer.counted.and_then(|(_, inodes)| value(inodes)),
    }
}

fn network(interfaces: &[Interface], timestamp: i64) -> proto::NetworkUsage {
    let mut usages = interfaces.iter().map(|interface| proto::NetworkInterfaceUsage {
        name: interface.name.clone(),
        rx_bytes: value(interface.received.bytes),
        rx_errors: value(interface.received.errors),
        tx_bytes: value(interface.sent.bytes),
        tx_errors: value(interface.sent.errors),
    });
    proto::NetworkUsage { timestamp, default_interface: usages.next(), interfaces: usages.collect() }
}
