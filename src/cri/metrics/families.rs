//! Every metric by name: those of cAdvisor that the kubelet's /metrics/cadvisor has (cAdvisor's
//! `metrics/prometheus.go` for the sets that `pkg/kubelet/server/server.go` includes), and those of huge pages. What
//! cAdvisor has of disk schedulers of old, which no kernel counts by cgroup any more, is not among them.

use crate::proto::{MetricDescriptor, MetricType};
use engine::Counted;

/// The labels of every metric, as the kubelet gives them to cAdvisor's.
pub(super) const LABELS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// A metric.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    /// Labels after [`LABELS`].
    pub(super) labels: &'static [&'static str],
}

impl Family {
    pub(super) fn descriptor(&self) -> MetricDescriptor {
        MetricDescriptor {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            label_keys: LABELS.iter().chain(self.labels).map(|label| (*label).to_owned()).collect(),
        }
    }

    /// Whether a host that counts this much has samples of it.
    pub(super) fn is_counted(&self, host: &Counted) -> bool {
        let about = |prefix: &str| self.name.starts_with(prefix);
        match self.name {
            "container_hugetlb_max_usage_bytes" => host.huge_page_peaks,
            "container_memory_kernel_usage" => host.kernel_memory,
            "container_memory_max_usage_bytes" => host.memory_peak,
            "container_memory_swap" => host.swap,
            _ if about("container_hugetlb_") => host.huge_pages,
            _ if about("container_pressure_") => host.pressure,
            _ if about("container_fs_io_cost_") => host.device_costs,
            _ => true,
        }
    }
}

macro_rules! families {
    ($($constant:ident $kind:ident [$($label:literal),*] $name:literal $help:literal;)*) => {
        $(pub(super) const $constant: Family =
            Family { name: $name, help: $help, kind: MetricType::$kind, labels: &[$($label),*] };)*
        /// All of them.
        pub(super) const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    LAST_SEEN Gauge [] "container_last_seen" "Last time a container was seen by the exporter";
    START_TIME Gauge [] "container_start_time_seconds" "Start time of the container since unix epoch in seconds.";
    CPU_USER Counter [] "container_cpu_user_seconds_total" "Cumulative user cpu time consumed in seconds.";
    CPU_SYSTEM Counter [] "container_cpu_system_seconds_total" "Cumulative system cpu time consumed in seconds.";
    CPU_USAGE Counter ["cpu"] "container_cpu_usage_seconds_total" "Cumulative cpu time consumed in seconds.";
    CFS_PERIODS Counter [] "container_cpu_cfs_periods_total" "Number of elapsed enforcement period intervals.";
    CFS_THROTTLED_PERIODS Counter [] "container_cpu_cfs_throttled_periods_total" "Number of throttled period intervals.";
    CFS_THROTTLED Counter [] "container_cpu_cfs_throttled_seconds_total" "Total time duration the container has been throttled.";
    CFS_BURST_PERIODS Counter [] "container_cpu_cfs_burst_periods_total" "Number of periods when burst occurs.";
    CFS_BURST Counter [] "container_cpu_cfs_burst_seconds_total" "Total time duration the container has been bursted.";
    LOAD Gauge [] "container_cpu_load_average_10s" "Value of container cpu load average over the last 10 seconds.";
    LOAD_D Gauge [] "container_cpu_load_d_average_10s" "Value of container cpu load.d average over the last 10 seconds.";
    TASKS Gauge ["state"] "container_tasks_state" "Number of tasks in given state";
    HUGE_FAILURES Counter ["pagesize"] "container_hugetlb_failcnt" "Number of hugepage usage hits limits";
    HUGE_USAGE Gauge ["pagesize"] "container_hugetlb_usage_bytes" "Current hugepage usage in bytes";
    HUGE_PEAK Gauge ["pagesize"] "container_hugetlb_max_usage_bytes" "Maximum hugepage usage recorded in bytes";
    MEMORY_CACHE Gauge [] "container_memory_cache" "Number of bytes of page cache memory.";
    MEMORY_RSS Gauge [] "container_memory_rss" "Size of RSS in bytes.";
    MEMORY_KERNEL Gauge [] "container_memory_kernel_usage" "Size of kernel memory allocated in bytes.";
    MEMORY_MAPPED Gauge [] "container_memory_mapped_file" "Size of memory mapped files in bytes.";
    MEMORY_SWAP Gauge [] "container_memory_swap" "Container swap usage in bytes.";
    MEMORY_FAILURES Counter [] "container_memory_failcnt" "Number of memory usage hits limits";
    MEMORY_USAGE Gauge [] "container_memory_usage_bytes" "Current memory usage in bytes, including all memory regardless of when it was accessed";
    MEMORY_PEAK Gauge [] "container_memory_max_usage_bytes" "Maximum memory usage recorded in bytes";
    MEMORY_WORKING_SET Gauge [] "container_memory_working_set_bytes" "Current working set in bytes.";
    MEMORY_ACTIVE_FILE Gauge [] "container_memory_total_active_file_bytes" "Current total active file in bytes.";
    MEMORY_INACTIVE_FILE Gauge [] "container_memory_total_inactive_file_bytes" "Current total inactive file in bytes.";
    MEMORY_FAULTS Counter ["failure_type", "scope"] "container_memory_failures_total" "Cumulative count of memory allocation failures.";
    FS_INODES_FREE Gauge ["device"] "container_fs_inodes_free" "Number of available Inodes";
    FS_INODES Gauge ["device"] "container_fs_inodes_total" "Number of Inodes";
    FS_LIMIT Gauge ["device"] "container_fs_limit_bytes" "Number of bytes that can be consumed by the container on this filesystem.";
    FS_USAGE Gauge ["device"] "container_fs_usage_bytes" "Number of bytes that are consumed by the container on this filesystem.";
    FS_READ_BYTES Counter ["device"] "container_fs_reads_bytes_total" "Cumulative count of bytes read";
    FS_READS Counter ["device"] "container_fs_reads_total" "Cumulative count of reads completed";
    FS_WRITE_BYTES Counter ["device"] "container_fs_writes_bytes_total" "Cumulative count of bytes written";
    FS_WRITES Counter ["device"] "container_fs_writes_total" "Cumulative count of writes completed";
    FS_COST_USAGE Counter ["device"] "container_fs_io_cost_usage_seconds_total" "Cumulative IOCost usage in seconds";
    FS_COST_WAIT Counter ["device"] "container_fs_io_cost_wait_seconds_total" "Cumulative IOCost wait in seconds";
    FS_COST_INDEBT Counter ["device"] "container_fs_io_cost_indebt_seconds_total" "Cumulative IOCost debt in seconds";
    FS_COST_INDELAY Counter ["device"] "container_fs_io_cost_indelay_seconds_total" "Cumulative IOCost delay in seconds";
    BLKIO Counter ["device", "major", "minor", "operation"] "container_blkio_device_usage_total" "Blkio Device bytes usage";
    NET_RECEIVED Counter ["interface"] "container_network_receive_bytes_total" "Cumulative count of bytes received";
    NET_RECEIVED_PACKETS Counter ["interface"] "container_network_receive_packets_total" "Cumulative count of packets received";
    NET_RECEIVED_DROPPED Counter ["interface"] "container_network_receive_packets_dropped_total" "Cumulative count of packets dropped while receiving";
    NET_RECEIVED_ERRORS Counter ["interface"] "container_network_receive_errors_total" "Cumulative count of errors encountered while receiving";
    NET_SENT Counter ["interface"] "container_network_transmit_bytes_total" "Cumulative count of bytes transmitted";
    NET_SENT_PACKETS Counter ["interface"] "container_network_transmit_packets_total" "Cumulative count of packets transmitted";
    NET_SENT_DROPPED Counter ["interface"] "container_network_transmit_packets_dropped_total" "Cumulative count of packets dropped while transmitting";
    NET_SENT_ERRORS Counter ["interface"] "container_network_transmit_errors_total" "Cumulative count of errors encountered while transmitting";
    PROCESSES Gauge [] "container_processes" "Number of processes running inside the container.";
    DESCRIPTORS Gauge [] "container_file_descriptors" "Number of open file descriptors for the container.";
    SOCKETS Gauge [] "container_sockets" "Number of open sockets for the container.";
    THREADS_MAX Gauge [] "container_threads_max" "Maximum number of threads allowed inside the container, infinity if value is zero";
    THREADS Gauge [] "container_threads" "Number of threads running inside the container";
    ULIMITS Gauge ["ulimit"] "container_ulimits_soft" "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice";
    OOM Counter [] "container_oom_events_total" "Count of out of memory events observed for the container";
    CPU_STALLED Counter [] "container_pressure_cpu_stalled_seconds_total" "Total time duration no tasks in the container could make progress due to CPU congestion.";
    CPU_WAITING Counter [] "container_pressure_cpu_waiting_seconds_total" "Total time duration tasks in the container have waited due to CPU congestion.";
    MEMORY_STALLED Counter [] "container_pressure_memory_stalled_seconds_total" "Total time duration no tasks in the container could make progress due to memory congestion.";
    MEMORY_WAITING Counter [] "container_pressure_memory_waiting_seconds_total" "Total time duration tasks in the container have waited due to memory congestion.";
    IO_STALLED Counter [] "container_pressure_io_stalled_seconds_total" "Total time duration no tasks in the container could make progress due to IO congestion.";
    IO_WAITING Counter [] "container_pressure_io_waiting_seconds_total" "Total time duration tasks in the container have waited due to IO congestion.";
    SPEC_CPU_PERIOD Gauge [] "container_spec_cpu_period" "CPU period of the container.";
    SPEC_CPU_QUOTA Gauge [] "container_spec_cpu_quota" "CPU quota of the container.";
    SPEC_CPU_SHARES Gauge [] "container_spec_cpu_shares" "CPU share of the container.";
    SPEC_MEMORY_LIMIT Gauge [] "container_spec_memory_limit_bytes" "Memory limit for the container.";
    SPEC_SWAP_LIMIT Gauge [] "container_spec_memory_swap_limit_bytes" "Memory swap limit for the container.";
    SPEC_RESERVATION Gauge [] "container_spec_memory_reservation_limit_bytes" "Memory reservation limit for the container.";
}
