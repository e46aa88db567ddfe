#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::families::{self, LABELS};
use super::samples::Samples;
use super::*;
use crate::proto::{ContainerMetrics, ListPodSandboxMetricsResponse, Metric};
use engine::{Counted, Detail, DeviceIo, Flow, Interface, Pressure, Usage};
use std::collections::{BTreeMap, BTreeSet};

/// A host that counts everything.
const EVERYTHING: Counted = Counted {
    huge_pages: true,
    huge_page_peaks: true,
    device_costs: true,
    pressure: true,
    kernel_memory: true,
    memory_peak: true,
    swap: true,
};

fn usage() -> Usage {
    let mut stats = oci_stats();
    stats.swap_usage = Some(3);
    stats.cpu_pressure = Some(Pressure::default());
    stats.memory_pressure = Some(Pressure::default());
    stats.io_pressure = Some(Pressure::default());
    Usage { timestamp: 7_000_000_000, stats, nano_cores: 0 }
}

fn oci_stats() -> engine::CgroupStats {
    engine::CgroupStats { cpu_usage_ns: 5_900_000_000, memory_usage: 100, ..Default::default() }
}

fn detail() -> Detail {
    let counters = [
        "rbytes",
        "wbytes",
        "rios",
        "wios",
        "dbytes",
        "cost.usage",
        "cost.wait",
        "cost.indebt",
        "cost.indelay",
    ];
    let counters =
        counters.iter().zip(1u64..).map(|(name, value)| ((*name).to_owned(), value * 1_000_000)).collect();
    Detail {
        kernel: Some(1),
        peak: Some(2),
        huge_pages: vec![engine::HugePages { size: "2MB".into(), peak: Some(1), ..Default::default() }],
        devices: vec![DeviceIo { major: 4_000, minor: 1, counters }],
        ..Detail::default()
    }
}

fn everything() -> Vec<Metric> {
    samples(&usage(), detail())
}

fn samples(usage: &Usage, detail: Detail) -> Vec<Metric> {
    let (mut wire, mut devices) = (Wire::default(), DeviceNames::default());
    let mut samples = Samples::new(LABELS, 7_000_000_000, &mut devices, &mut wire);
    samples.times(3_500_000_000);
    samples.usage(usage, &detail);
    let flow = Flow { bytes: 1, packets: 2, errors: 3, dropped: 4 };
    samples.network(&Interface { name: "eth0".into(), received: flow, sent: flow });
    let figures = of_container(usage, detail);
    samples.processes(&figures);
    samples.filesystem(&figures);
    samples.spec(&model::Resources { cpu_quota: model::CpuQuota::new(1000).ok(), ..Default::default() });
    decoded::<ContainerMetrics>(wire).metrics
}

/// What a client reads: the bytes are those of the message, and of nothing else.
fn decoded<M: prost::Message + Default>(wire: Wire) -> M {
    let bytes = wire.into_bytes();
    let message = M::decode(&*bytes).unwrap();
    assert_eq!(message.encode_to_vec(), bytes);
    message
}

fn of_container(usage: &Usage, detail: Detail) -> ContainerFigures {
    let container = crate::encode::tests::view(model::ContainerState::Running { started_at: 2_000_000_000 });
    ContainerFigures {
        stats: engine::ContainerStats {
            id: container.id.clone(),
            config: container.config.clone(),
            usage: Some(*usage),
            layer: engine::LayerUsage {
                timestamp: 1,
                mountpoint: std::path::Path::new("/").into(),
                counted: Some((5, 6)),
            },
        },
        detail,
        cgroup: "/a".into(),
        processes: engine::Processes { files_limit: Some(9), ..Default::default() },
        load: (1.5, 0.0),
        filesystem: engine::Filesystem::default(),
        container,
    }
}

#[test]
fn a_pods_message_is_the_interfaces_with_all_that_is_known() {
    let (usage, mut config) = (usage(), model::SandboxConfig::default());
    config.metadata.name = "web".into();
    config.metadata.namespace = "prod".into();
    let interface = Interface { name: "eth0".into(), ..Default::default() };
    let stats = engine::PodStats {
        id: model::SandboxId::new("p"),
        config: config.into(),
        created_at: 1_000_000_000,
        usage: Some(usage),
        interfaces: Some([interface.clone(), Interface { name: "net1".into(), ..interface }].into()),
        processes: 1,
        timestamp: 8_000_000_000,
        containers: Vec::new(),
    };
    let containers = vec![of_container(&usage, detail()), of_container(&usage, Detail::default())];
    let figures = PodFigures { stats, detail: detail(), cgroup: "/pod".into(), containers };
    let (mut wire, mut devices) = (Wire::default(), DeviceNames::default());
    pod(&figures, &mut devices, &mut wire);
    pod(&figures, &mut devices, &mut wire);
    let told = decoded::<ListPodSandboxMetricsResponse>(wire).pod_metrics;
    assert_eq!((told.len(), &told[0]), (2, &told[1]));
    let one = &told[0];
    assert_eq!((one.pod_sandbox_id.as_str(), one.container_metrics.len()), ("p", 2));
    let labels = |metrics: &[Metric], name: &str| {
        let found = metrics.iter().find(|metric| metric.name == name).unwrap();
        (found.label_values.clone(), found.timestamp, found.value.unwrap().value)
    };
    let owned = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        labels(&one.metrics, "container_start_time_seconds"),
        (owned(&["", "/pod", "", "", "prod", "web"]), 8_000_000_000, 1)
    );
    let received = labels(&one.metrics, "container_network_receive_bytes_total").0;
    assert_eq!(received, owned(&["", "/pod", "", "p", "prod", "web", "eth0"]));
    let container = &one.container_metrics[0];
    assert_eq!(container.container_id, "c");
    assert_eq!(
        labels(&container.metrics, "container_start_time_seconds"),
        (owned(&["", "/a", "", "c", "prod", "web"]), 7_000_000_000, 2)
    );
    assert!(one.metrics.len() > 40 && container.metrics.len() > one.container_metrics[1].metrics.len());
}

#[test]
fn every_sample_has_a_family_with_as_many_labels() {
    let families: BTreeMap<String, usize> =
        descriptors(&EVERYTHING).into_iter().map(|family| (family.name, family.label_keys.len())).collect();
    assert_eq!(families.len(), families::ALL.len(), "a name is there twice");
    let samples = everything();
    for sample in &samples {
        assert_eq!(families.get(&sample.name), Some(&sample.label_values.len()), "{sample:?}");
    }
    let sampled: BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    let missing: Vec<&String> = families.keys().filter(|name| !sampled.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "families without a sample: {missing:?}");
}

#[test]
fn what_a_host_does_not_count_it_does_not_list() {
    let bare = Usage { stats: oci_stats(), ..usage() };
    let sampled: BTreeSet<String> =
        samples(&bare, Detail::default()).into_iter().map(|sample| sample.name).collect();
    let listed: BTreeSet<String> =
        descriptors(&Counted::default()).into_iter().map(|family| family.name).collect();
    assert_eq!(sampled, listed);
}

#[test]
fn no_series_is_there_twice() {
    let mut seen = BTreeSet::new();
    for sample in everything() {
        assert!(seen.insert((sample.name.clone(), sample.label_values.clone())), "{sample:?}");
    }
}

#[test]
fn seconds_are_whole_seconds() {
    let samples = everything();
    let value = |name: &str| samples.iter().find(|sample| sample.name == name).unwrap().value.unwrap().value;
    assert_eq!(value("container_cpu_usage_seconds_total"), 5);
    assert_eq!((value("container_last_seen"), value("container_start_time_seconds")), (7, 3));
    assert_eq!(value("container_cpu_load_average_10s"), 1500);
    assert_eq!(value("container_fs_io_cost_usage_seconds_total"), 6);
}
