//! All limits of a container or pod.

use super::{Bytes, CgroupFile, CpuList, CpuPeriod, CpuQuota, CpuShares, OomScore, PageSize};
use crate::value::{ValueError, ValueResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A limit of huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(PageSize, u64)", into = "(PageSize, u64)")]
pub struct HugePages {
    /// The size of a page.
    pub size: PageSize,
    /// Bytes of all of them.
    pub limit: u64,
}

impl From<(PageSize, u64)> for HugePages {
    fn from((size, limit): (PageSize, u64)) -> Self {
        Self { size, limit }
    }
}

impl From<HugePages> for (PageSize, u64) {
    fn from(pages: HugePages) -> Self {
        (pages.size, pages.limit)
    }
}

/// CRI `LinuxContainerResources`. What is `None`, empty or a score of 0 was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Resources {
    /// CFS period.
    pub cpu_period: Option<CpuPeriod>,
    /// CFS quota.
    pub cpu_quota: Option<CpuQuota>,
    /// Relative weight.
    pub cpu_shares: Option<CpuShares>,
    /// Memory.
    pub memory_limit: Option<Bytes>,
    /// Memory and swap together.
    pub memory_swap_limit: Option<Bytes>,
    /// Of the first process.
    pub oom_score_adj: OomScore,
    /// CPUs.
    pub cpuset_cpus: Option<CpuList>,
    /// Memory nodes.
    pub cpuset_mems: Option<CpuList>,
    /// Each size once.
    pub hugepages: Vec<HugePages>,
    /// Files of cgroup v2 and what they hold, verbatim.
    pub unified: BTreeMap<CgroupFile, String>,
}

/// The form of records, with 0 and empty text for what is not there.
#[derive(Serialize, Deserialize)]
struct Stored {
    cpu_period: i64,
    cpu_quota: i64,
    cpu_shares: i64,
    memory_limit: i64,
    memory_swap_limit: i64,
    oom_score_adj: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    hugepages: Vec<HugePages>,
    unified: BTreeMap<CgroupFile, String>,
}

/// What a number of a request or record means; 0 is nothing.
fn number<T>(value: i64, new: impl FnOnce(i64) -> ValueResult<T>) -> ValueResult<Option<T>> {
    (value != 0).then(|| new(value)).transpose()
}

fn list(text: String) -> ValueResult<Option<CpuList>> {
    (!text.is_empty()).then(|| CpuList::new(text)).transpose()
}

impl TryFrom<Stored> for Resources {
    type Error = ValueError;

    fn try_from(stored: Stored) -> ValueResult<Self> {
        Ok(Self {
            cpu_period: number(stored.cpu_period, CpuPeriod::new)?,
            cpu_quota: number(stored.cpu_quota, CpuQuota::new)?,
            cpu_shares: number(stored.cpu_shares, CpuShares::new)?,
            memory_limit: number(stored.memory_limit, Bytes::new)?,
            memory_swap_limit: number(stored.memory_swap_limit, Bytes::new)?,
            oom_score_adj: OomScore::new(stored.oom_score_adj)?,
            cpuset_cpus: list(stored.cpuset_cpus)?,
            cpuset_mems: list(stored.cpuset_mems)?,
            hugepages: stored.hugepages,
            unified: stored.unified,
        })
    }
}

impl From<Resources> for Stored {
    fn from(limits: Resources) -> Self {
        let list = |list: Option<CpuList>| list.map(String::from).unwrap_or_default();
        Self {
            cpu_period: limits.cpu_period.map_or(0, CpuPeriod::get),
            cpu_quota: limits.cpu_quota.map_or(0, CpuQuota::get),
            cpu_shares: limits.cpu_shares.map_or(0, CpuShares::get),
            memory_limit: limits.memory_limit.map_or(0, Bytes::get),
            memory_swap_limit: limits.memory_swap_limit.map_or(0, Bytes::get),
            oom_score_adj: limits.oom_score_adj.get(),
            cpuset_cpus: list(limits.cpuset_cpus),
            cpuset_mems: list(limits.cpuset_mems),
            hugepages: limits.hugepages,
            unified: limits.unified,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RECORD: &str = concat!(
        r#"{"cpu_period":0,"cpu_quota":-1,"cpu_shares":512,"memory_limit":100,"memory_swap_limit":0,"#,
        r#""oom_score_adj":-999,"cpuset_cpus":"0-3","cpuset_mems":"","hugepages":[["2MB",7]],"#,
        r#""unified":{"memory.high":"9"}}"#
    );

    #[test]
    fn a_record_has_the_form_that_it_always_had() {
        let limits: Resources = serde_json::from_str(RECORD).unwrap();
        let expected = Resources {
            cpu_quota: Some(CpuQuota::UNLIMITED),
            cpu_shares: Some(CpuShares::new(512).unwrap()),
            memory_limit: Some(Bytes::new(100).unwrap()),
            oom_score_adj: OomScore::new(-999).unwrap(),
            cpuset_cpus: Some(CpuList::new("0-3").unwrap()),
            hugepages: vec![HugePages { size: PageSize::new("2MB").unwrap(), limit: 7 }],
            unified: [(CgroupFile::new("memory.high").unwrap(), "9".to_owned())].into(),
            ..Resources::default()
        };
        assert_eq!(limits, expected);
        assert_eq!(serde_json::to_string(&limits).unwrap(), RECORD);
    }

    #[test]
    fn a_record_of_what_no_request_could_ask_for_is_damaged() {
        let damaged = RECORD.replace("512", "1");
        let error = serde_json::from_str::<Resources>(&damaged).unwrap_err().to_string();
        assert!(error.starts_with("1 is not within 2 to 262144"), "{error}");
    }
}
