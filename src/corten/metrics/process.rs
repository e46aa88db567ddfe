//! The metrics that Prometheus expects of every process, read from /proc when they are scraped.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::sync::Mutex;

/// Reads the daemon's own figures.
pub(super) struct ProcessCollector {
    cpu: Mutex<Counter>,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    start: IntGauge,
}

impl ProcessCollector {
    /// # Errors
    /// A name that Prometheus does not allow.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let collector = Self {
            cpu: Mutex::new(Counter::new(
                "process_cpu_seconds_total",
                "User and system CPU time in seconds",
            )?),
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory in bytes")?,
            virtual_memory: IntGauge::new("process_virtual_memory_bytes", "Virtual memory in bytes")?,
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors")?,
            max_fds: IntGauge::new("process_max_fds", "Most file descriptors that may be open")?,
            threads: IntGauge::new("process_threads", "Threads")?,
            start: IntGauge::new("process_start_time_seconds", "Start of the process in Unix time")?,
        };
        if let (Some(stat), Some(boot)) = (Stat::read(), boot_time()) {
            collector.start.set(boot + seconds(stat.start_ticks));
        }
        Ok(collector)
    }

    fn gauges(&self) -> [&IntGauge; 6] {
        [&self.resident, &self.virtual_memory, &self.open_fds, &self.max_fds, &self.threads, &self.start]
    }

    fn refresh(&self) {
        if let Some(stat) = Stat::read() {
            let page = rustix::param::page_size() as u64;
            self.resident.set(clamp(stat.resident_pages.saturating_mul(page)));
            self.virtual_memory.set(clamp(stat.virtual_bytes));
            self.threads.set(clamp(stat.threads));
            #[allow(clippy::cast_precision_loss, reason = "centuries of CPU time fit")]
            let cpu = stat.cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
            // One scrape at a time, or two would add the same difference.
            let counter = sys::sync::lock(&self.cpu);
            counter.inc_by((cpu - counter.get()).max(0.0));
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // Less the descriptor that reads the directory.
            self.open_fds.set(clamp(fds.count().saturating_sub(1) as u64));
        }
        self.max_fds.set(clamp(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)));
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let cpu = sys::sync::lock(&self.cpu).collect();
        cpu.into_iter().chain(self.gauges().into_iter().flat_map(Collector::collect)).collect()
    }
}

/// The fields of `/proc/self/stat` (`proc(5)`) that are exported.
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the name in parentheses, which may hold spaces and parentheses itself.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Counted from the third field of the manual page, the state.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn seconds(ticks: u64) -> i64 {
    clamp(ticks / rustix::param::clock_ticks_per_second().max(1))
}

/// When the machine booted, in Unix time.
fn boot_time() -> Option<i64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let text = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 140 150 0 0 20 0 7 0 2200 23000 24 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (290, 7, 2200));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (23000, 24));
    }

    #[test]
    fn this_process_is_measured() {
        let collector = ProcessCollector::new().unwrap();
        let families = collector.collect();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_threads") >= 1.0);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 3600.0);
    }
}
