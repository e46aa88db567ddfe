//! Figures into samples.

use super::devices::DeviceNames;
use super::families::{self as family, Family};
use crate::encode::wire::Wire;
use crate::proto::MetricType;
use engine::{ContainerFigures, Detail, DeviceIo, Interface, Usage};
use model::{Bytes, CpuQuota, Resources};

const NS: u64 = 1_000_000_000;
const US: u64 = 1_000_000;

/// The number of the samples' field, in a pod's message and in a container's.
const SAMPLES: u32 = 2;
/// The number of a sample's label values.
const LABEL_VALUES: u32 = 4;

/// More than a sample takes beside its name and its labels.
const REST: usize = 20;

/// Samples of one object, written as they are told.
pub(super) struct Samples<'a> {
    /// The moment, the kind and the values of the common labels, encoded once for each kind there is.
    common: [(MetricType, Vec<u8>); 2],
    timestamp: i64,
    devices: &'a mut DeviceNames,
    to: &'a mut Wire,
}

impl<'a> Samples<'a> {
    /// With the values of the common labels, as of a moment in Unix nanoseconds.
    pub(super) fn new(
        labels: [&str; 6],
        timestamp: i64,
        devices: &'a mut DeviceNames,
        to: &'a mut Wire,
    ) -> Self {
        let common = [MetricType::Counter, MetricType::Gauge].map(|kind| {
            let mut encoded = Wire::default();
            encoded.int64(2, timestamp);
            encoded.int32(3, kind.into());
            labels.iter().for_each(|label| encoded.text(LABEL_VALUES, label));
            (kind, encoded.into_bytes())
        });
        Self { common, timestamp, devices, to }
    }

    fn add(&mut self, family: &Family, value: u64) {
        self.add_with(family, &[], value);
    }

    fn add_with(&mut self, family: &Family, labels: &[&str], value: u64) {
        let common = self.common.iter().find(|(kind, _)| *kind == family.kind);
        let common = common.map_or(&[][..], |(_, encoded)| encoded);
        let about = family.name.len() + common.len() + REST;
        self.to.message_of(about, SAMPLES, |to| {
            to.string(1, family.name);
            to.encoded(common);
            labels.iter().for_each(|label| to.text(LABEL_VALUES, label));
            to.value(5, value);
        });
    }

    fn add_if(&mut self, family: &Family, value: Option<u64>) {
        if let Some(value) = value {
            self.add(family, value);
        }
    }

    /// When it was seen and when it started, in Unix nanoseconds.
    pub(super) fn times(&mut self, started_at: i64) {
        let seconds = |at: i64| u64::try_from(at).unwrap_or(0) / NS;
        self.add(&family::LAST_SEEN, seconds(self.timestamp));
        self.add(&family::START_TIME, seconds(started_at));
    }

    /// What a cgroup counts.
    pub(super) fn usage(&mut self, usage: &Usage, detail: &Detail) {
        self.cpu(usage, detail);
        self.memory(usage, detail);
        self.pressure(usage);
        for pages in &detail.huge_pages {
            let size = [pages.size.as_str()];
            self.add_with(&family::HUGE_FAILURES, &size, pages.limit_hits);
            self.add_with(&family::HUGE_USAGE, &size, pages.usage);
            if let Some(peak) = pages.peak {
                self.add_with(&family::HUGE_PEAK, &size, peak);
            }
        }
        detail.devices.iter().for_each(|device| self.device(device));
        if detail.devices.is_empty() {
            self.no_device();
        }
        self.add(&family::THREADS, usage.stats.pids);
        self.add(&family::THREADS_MAX, detail.pids_max.unwrap_or(0));
    }

    fn cpu(&mut self, usage: &Usage, detail: &Detail) {
        let throttling = &detail.throttling;
        self.add_with(&family::CPU_USAGE, &["total"], usage.stats.cpu_usage_ns / NS);
        self.add(&family::CPU_USER, detail.cpu_user_ns / NS);
        self.add(&family::CPU_SYSTEM, detail.cpu_system_ns / NS);
        self.add(&family::CFS_PERIODS, throttling.periods);
        self.add(&family::CFS_THROTTLED_PERIODS, throttling.throttled_periods);
        self.add(&family::CFS_THROTTLED, throttling.throttled_ns / NS);
        self.add(&family::CFS_BURST_PERIODS, throttling.burst_periods);
        self.add(&family::CFS_BURST, throttling.burst_ns / NS);
    }

    fn memory(&mut self, usage: &Usage, detail: &Detail) {
        let stats = &usage.stats;
        self.add(&family::MEMORY_CACHE, detail.cache);
        self.add(&family::MEMORY_RSS, stats.memory_rss);
        self.add_if(&family::MEMORY_KERNEL, detail.kernel);
        self.add(&family::MEMORY_MAPPED, detail.mapped_file);
        self.add_if(&family::MEMORY_SWAP, stats.swap_usage);
        self.add(&family::MEMORY_FAILURES, detail.limit_hits);
        self.add(&family::MEMORY_USAGE, stats.memory_usage);
        self.add_if(&family::MEMORY_PEAK, detail.peak);
        self.add(&family::MEMORY_WORKING_SET, stats.memory_working_set);
        self.add(&family::MEMORY_ACTIVE_FILE, detail.active_file);
        self.add(&family::MEMORY_INACTIVE_FILE, detail.inactive_file);
        let all = (stats.page_faults, stats.major_page_faults);
        // v2 counts the whole hierarchy only, and cAdvisor shows it under both scopes.
        for (scope, (faults, major)) in [("container", detail.own_faults.unwrap_or(all)), ("hierarchy", all)]
        {
            self.add_with(&family::MEMORY_FAULTS, &["pgfault", scope], faults);
            self.add_with(&family::MEMORY_FAULTS, &["pgmajfault", scope], major);
        }
        self.add(&family::OOM, detail.oom_kills);
    }

    fn pressure(&mut self, usage: &Usage) {
        let stats = &usage.stats;
        for (pressure, stalled, waiting) in [
            (stats.cpu_pressure, &family::CPU_STALLED, &family::CPU_WAITING),
            (stats.memory_pressure, &family::MEMORY_STALLED, &family::MEMORY_WAITING),
            (stats.io_pressure, &family::IO_STALLED, &family::IO_WAITING),
        ] {
            self.add_if(stalled, pressure.map(|pressure| pressure.full.total_us / US));
            self.add_if(waiting, pressure.map(|pressure| pressure.some.total_us / US));
        }
    }

    /// Nothing was read from and written to any: what is described has a sample, as cAdvisor's have an empty device where
    /// they are of none.
    fn no_device(&mut self) {
        let none = "";
        for family in [&family::FS_READ_BYTES, &family::FS_READS, &family::FS_WRITE_BYTES, &family::FS_WRITES]
        {
            self.add_with(family, &[none], 0);
        }
        for operation in ["Read", "Write"] {
            self.add_with(&family::BLKIO, &[none, none, none, operation], 0);
        }
    }

    fn device(&mut self, io: &DeviceIo) {
        let name = self.devices.of(io);
        let (major, minor) = (io.major.to_string(), io.minor.to_string());
        for (family, counter, unit) in [
            (&family::FS_READ_BYTES, "rbytes", 1),
            (&family::FS_READS, "rios", 1),
            (&family::FS_WRITE_BYTES, "wbytes", 1),
            (&family::FS_WRITES, "wios", 1),
            (&family::FS_COST_USAGE, "cost.usage", US),
            (&family::FS_COST_WAIT, "cost.wait", US),
            (&family::FS_COST_INDEBT, "cost.indebt", US),
            (&family::FS_COST_INDELAY, "cost.indelay", US),
        ] {
            if let Some(value) = io.counter(counter) {
                self.add_with(family, &[&name], value / unit);
            }
        }
        for (operation, counter) in [("Read", "rbytes"), ("Write", "wbytes"), ("Discard", "dbytes")] {
            if let Some(value) = io.counter(counter) {
                self.add_with(&family::BLKIO, &[&name, &major, &minor, operation], value);
            }
        }
    }

    /// An interface of a pod.
    pub(super) fn network(&mut self, interface: &Interface) {
        let (name, received, sent) = ([interface.name.as_str()], &interface.received, &interface.sent);
        for (family, value) in [
            (&family::NET_RECEIVED, received.bytes),
            (&family::NET_RECEIVED_PACKETS, received.packets),
            (&family::NET_RECEIVED_DROPPED, received.dropped),
            (&family::NET_RECEIVED_ERRORS, received.errors),
            (&family::NET_SENT, sent.bytes),
            (&family::NET_SENT_PACKETS, sent.packets),
            (&family::NET_SENT_DROPPED, sent.dropped),
            (&family::NET_SENT_ERRORS, sent.errors),
        ] {
            self.add_with(family, &name, value);
        }
    }

    /// Processes and what they do.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a load is small and positive"
    )]
    pub(super) fn processes(&mut self, figures: &ContainerFigures) {
        let (found, load) = (&figures.processes, figures.load);
        self.add(&family::PROCESSES, found.count);
        self.add(&family::DESCRIPTORS, found.descriptors);
        self.add(&family::SOCKETS, found.sockets);
        if let Some(limit) = found.files_limit {
            self.add_with(&family::ULIMITS, &["max_open_files"], limit);
        }
        // cAdvisor's unit is a thousandth.
        self.add(&family::LOAD, (load.0 * 1000.0) as u64);
        self.add(&family::LOAD_D, (load.1 * 1000.0) as u64);
        for (state, count) in [
            ("sleeping", found.threads.sleeping),
            ("running", found.threads.running),
            ("stopped", found.threads.stopped),
            ("uninterruptible", found.threads.uninterruptible),
        ] {
            self.add_with(&family::TASKS, &[state], count);
        }
    }

    /// The writable layer and what it is on.
    pub(super) fn filesystem(&mut self, figures: &ContainerFigures) {
        let filesystem = &figures.filesystem;
        let device = [filesystem.device.as_str()];
        self.add_with(&family::FS_INODES_FREE, &device, filesystem.inodes_free);
        self.add_with(&family::FS_INODES, &device, filesystem.inodes);
        self.add_with(&family::FS_LIMIT, &device, filesystem.size);
        if let Some((bytes, _)) = figures.stats.layer.counted {
            self.add_with(&family::FS_USAGE, &device, bytes);
        }
    }

    /// Limits; the kernel's values where nobody set any, and 0 for memory without a limit.
    pub(super) fn spec(&mut self, limits: &Resources) {
        let bytes = |limit: Option<Bytes>| limit.and_then(Bytes::limit).map_or(0, i64::unsigned_abs);
        let period = limits.cpu_period.map_or(100_000, |period| period.get().unsigned_abs());
        let shares = limits.cpu_shares.map_or(1024, |shares| shares.get().unsigned_abs());
        self.add(&family::SPEC_CPU_PERIOD, period);
        self.add_if(
            &family::SPEC_CPU_QUOTA,
            limits.cpu_quota.and_then(CpuQuota::limit).map(i64::unsigned_abs),
        );
        self.add(&family::SPEC_CPU_SHARES, shares);
        self.add(&family::SPEC_MEMORY_LIMIT, bytes(limits.memory_limit));
        self.add(&family::SPEC_SWAP_LIMIT, bytes(limits.memory_swap_limit));
        self.add(&family::SPEC_RESERVATION, 0);
    }
}
