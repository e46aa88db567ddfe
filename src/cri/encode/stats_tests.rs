//! What is written by hand is what the messages of the interface, filled the plain way, are encoded to.

#![allow(clippy::unwrap_used)]

use crate::encode::wire::{CHUNK_BYTES, Items, Wire};
use crate::proto::{
    self, ListContainerStatsResponse, ListPodSandboxStatsResponse, StreamPodSandboxStatsResponse,
};
use engine::{CgroupStats, ContainerStats, Flow, Interface, LayerUsage, PodStats, Pressure, Stall, Usage};
use model::{ContainerConfig, ContainerId, SandboxConfig, SandboxId};
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;

fn texts(count: usize, length: usize) -> BTreeMap<String, String> {
    (0..count).map(|number| (format!("example.test/{number}"), "x".repeat(length))).collect()
}

/// One with nothing, one with everything in small, and one with everything in large.
fn usages() -> [Option<Usage>; 3] {
    let full = |by: u64| {
        let stall = Stall { avg10: 0.5, avg60: 0.25, avg300: 0.0, total_us: by };
        let pressure = Some(Pressure { some: stall, full: Stall::default() });
        let stats = CgroupStats {
            cpu_usage_ns: by,
            cpu_pressure: pressure,
            memory_usage: 3 * by,
            memory_working_set: 2 * by,
            memory_limit: Some(5 * by),
            memory_rss: by,
            page_faults: by,
            major_page_faults: 0,
            memory_pressure: pressure,
            swap_usage: Some(by),
            swap_limit: Some(7),
            io_pressure: pressure,
            pids: 1,
        };
        Usage { timestamp: i64::try_from(by).unwrap(), stats, nano_cores: by / 2 }
    };
    [None, Some(full(1)), Some(full(1 << 60))]
}

fn containers() -> Vec<ContainerStats> {
    let layer = |counted| LayerUsage { timestamp: 9, mountpoint: Path::new("/var/lib/x").into(), counted };
    let with = |number: usize, usage, counted| {
        let mut config = ContainerConfig {
            labels: texts(number, 3),
            annotations: texts(number, 90),
            ..Default::default()
        };
        config.metadata.name = "app".repeat(number);
        config.metadata.attempt = u32::try_from(number).unwrap();
        ContainerStats {
            id: ContainerId::new(format!("{number:064}")),
            config: config.into(),
            usage,
            layer: layer(counted),
        }
    };
    let [none, small, large] = usages();
    let bare = small.map(|usage| Usage { stats: CgroupStats::default(), ..usage });
    vec![
        with(0, none, None),
        with(1, small, Some((0, 1))),
        with(40, large, Some((1 << 40, 7))),
        with(2, bare, None),
    ]
}

fn pods() -> Vec<PodStats> {
    let flow = |by| Flow { bytes: by, packets: 1, errors: 0, dropped: by };
    let interface =
        |name: &str, by| Interface { name: name.into(), received: flow(by), sent: flow(by * 300) };
    let interfaces =
        [None, Some(vec![]), Some(vec![interface("eth0", 1), interface("net1", 2), interface("n2", 0)])];
    let mut pods = Vec::new();
    for (number, usage) in usages().into_iter().enumerate() {
        for (interfaces, containers) in interfaces.iter().zip([vec![], containers(), containers()]) {
            let mut config = SandboxConfig {
                labels: texts(5 * number, 20),
                annotations: texts(number, 300),
                ..Default::default()
            };
            config.metadata.name = "web".into();
            config.metadata.namespace = "n".repeat(number);
            config.metadata.attempt = 3;
            pods.push(PodStats {
                id: SandboxId::new(format!("{number:064}")),
                config: config.into(),
                created_at: 1,
                usage,
                interfaces: interfaces.clone().map(Into::into),
                processes: number as u64,
                timestamp: 1_700_000_000_000_000_000,
                containers,
            });
        }
    }
    pods
}

fn lane(pods: &[PodStats]) -> Items {
    let mut items = Items::default();
    pods.iter().for_each(|pod| items.add(|to| super::pod(pod, to)));
    items
}

#[test]
fn a_list_written_by_hand_is_byte_by_byte_the_one_of_the_messages() {
    let pods = pods();
    let plain = ListPodSandboxStatsResponse { stats: pods.iter().map(of_pod).collect() };
    for cut in [0, 1, 4, pods.len()] {
        let (one, other) = pods.split_at(cut);
        assert_eq!(Items::join(vec![lane(one), lane(other)]).concat(), plain.encode_to_vec());
    }
    let containers = containers();
    let plain = ListContainerStatsResponse { stats: containers.iter().map(of_container).collect() };
    let mut wire = Wire::default();
    containers.iter().for_each(|container| super::container(container, &mut wire));
    assert_eq!(wire.into_bytes(), plain.encode_to_vec());
}

#[test]
fn messages_of_a_stream_are_bounded_and_have_every_item_once_and_in_order() {
    let mut pods: Vec<PodStats> = (0..40).flat_map(|_| self::pods()).collect();
    // One that is too big for any message is alone.
    let giant = SandboxConfig { annotations: texts(1, 2 * CHUNK_BYTES), ..Default::default() };
    let giant = PodStats { config: giant.into(), ..pods[0].clone() };
    let at = pods.len() / 3;
    pods.insert(at, giant);
    let plain: Vec<_> = pods.iter().map(of_pod).collect();
    for cut in [0, 7, pods.len()] {
        let (one, other) = pods.split_at(cut);
        let messages = Items::messages(vec![lane(one), lane(other)]);
        assert!(messages.len() > 3);
        let mut told = Vec::new();
        for bytes in messages.into_iter().map(|parts| parts.concat()) {
            let message = StreamPodSandboxStatsResponse::decode(&*bytes).unwrap();
            assert!(bytes.len() <= CHUNK_BYTES || message.pod_sandbox_stats.len() == 1);
            assert!(!message.pod_sandbox_stats.is_empty());
            told.extend(message.pod_sandbox_stats);
        }
        assert!(told == plain, "cut at {cut}");
    }
    assert!(Items::messages(vec![lane(&[]), lane(&[])]).is_empty());
    assert_eq!(Items::messages(vec![lane(&pods[..2]), lane(&pods[2..4])]).len(), 1, "small ones together");
}

/// A container's usage; without `cpu`, `memory` and `swap` once it has ended.
fn of_container(stats: &ContainerStats) -> proto::ContainerStats {
    let config = &stats.config;
    proto::ContainerStats {
        attributes: Some(proto::ContainerAttributes {
            id: stats.id.to_string(),
            metadata: Some(crate::encode::container::metadata(&config.metadata)),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        }),
        cpu: stats.usage.as_ref().map(cpu),
        memory: stats.usage.as_ref().map(memory),
        writable_layer: Some(layer(&stats.layer)),
        swap: stats.usage.as_ref().and_then(swap),
        io: stats.usage.as_ref().and_then(io),
    }
}

/// A pod's usage.
fn of_pod(stats: &PodStats) -> proto::PodSandboxStats {
    let config = &stats.config;
    proto::PodSandboxStats {
        attributes: Some(proto::PodSandboxAttributes {
            id: stats.id.to_string(),
            metadata: Some(crate::encode::sandbox::metadata(&config.metadata)),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
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
