//! What this host counts of a cgroup at all, whichever cgroup it is.

use super::Host;
use super::detail::page_sizes;
use super::files::Hierarchy;

/// What the kernel and its hierarchies count here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Huge pages.
    pub huge_pages: bool,
    /// The most huge pages ever; v1 only.
    pub huge_page_peaks: bool,
    /// What the kernel's cost model says of block devices; v2 with the model switched on.
    pub device_costs: bool,
    /// Time lost waiting; v2 with PSI.
    pub pressure: bool,
    /// The kernel's own memory.
    pub kernel_memory: bool,
    /// The most memory ever.
    pub memory_peak: bool,
    /// Memory swapped out.
    pub swap: bool,
}

impl Host {
    /// Looks at the hierarchies: a controller that is not mounted, or that the kernel lacks, counts nothing.
    pub fn counted(&self) -> Counted {
        match self.unified() {
            Some(v2) => self.counted_v2(v2),
            None => self.counted_v1(),
        }
    }

    fn counted_v1(&self) -> Counted {
        let has = |controller: &str, file: &str| match self.v1_of(controller) {
            Some(hierarchy) => hierarchy.read("", file).ok().flatten().is_some(),
            None => false,
        };
        let of_pages = |name: &str| {
            let file = |size: &String| format!("hugetlb.{size}.{name}");
            // The root has no limits, but the same counters.
            page_sizes().iter().any(|size| has("hugetlb", &file(size)))
        };
        let stat = self.v1_of("memory").and_then(|memory| memory.read("", "memory.stat").ok().flatten());
        Counted {
            huge_pages: of_pages("usage_in_bytes"),
            huge_page_peaks: of_pages("max_usage_in_bytes"),
            device_costs: false,
            pressure: false,
            kernel_memory: has("memory", "memory.kmem.usage_in_bytes"),
            memory_peak: has("memory", "memory.max_usage_in_bytes"),
            swap: stat.is_some_and(|stat| stat.lines().any(|line| line.starts_with("total_swap "))),
        }
    }

    fn counted_v2(&self, v2: &Hierarchy) -> Counted {
        let controller = |name: &str| self.v2_controllers.iter().any(|known| known == name);
        let text = |relative: &str, file: &str| v2.read(relative, file).ok().flatten();
        let costs = text("", "io.cost.qos").unwrap_or_default();
        // The root has no files of memory: any other cgroup with that controller shows what this kernel counts.
        let memory =
            v2.children("").into_iter().find_map(|child| Some((text(&child, "memory.stat")?, child)));
        let (stat, child) = memory.unzip();
        let of_memory = |file: &str| child.as_deref().is_none_or(|child| text(child, file).is_some());
        Counted {
            huge_pages: controller("hugetlb") && !page_sizes().is_empty(),
            huge_page_peaks: false,
            device_costs: controller("io") && costs.contains("enable=1"),
            pressure: text("", "cpu.pressure").is_some(),
            kernel_memory: stat.is_none_or(|stat| stat.lines().any(|line| line.starts_with("kernel "))),
            memory_peak: of_memory("memory.peak"),
            swap: of_memory("memory.swap.current"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cgroup::CgroupPath;

    #[test]
    fn what_is_counted_is_what_a_cgroup_here_shows() {
        let host = Host::detect().unwrap();
        let counted = host.counted();
        assert_eq!(counted.huge_pages, host.controllers().contains(&"hugetlb"));
        if !host.is_unified() {
            let detail = host.detail(&CgroupPath::parse("cgroup", "/").unwrap()).unwrap();
            assert_eq!(counted.huge_pages, !detail.huge_pages.is_empty());
            assert_eq!(counted.kernel_memory, detail.kernel.is_some());
            assert_eq!(counted.memory_peak, detail.peak.is_some());
            assert!(!counted.pressure && !counted.device_costs);
        }
    }
}
