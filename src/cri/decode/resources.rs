//! Limits.

use super::{DecodeError, Field, text};
use crate::proto;
use model::limits::check_swap;
use model::{
    Bytes, CgroupFile, CpuList, CpuPeriod, CpuQuota, CpuShares, HugePages, OomScore, PageSize, Resources,
    ValueResult,
};
use std::collections::{BTreeMap, HashSet};

/// Limits with every value in its range; an absent message sets none.
pub(crate) fn resources(
    field: &Field<'_>,
    message: Option<proto::LinuxContainerResources>,
) -> Result<Resources, DecodeError> {
    let message = message.unwrap_or_default();
    let memory = message.memory_limit_in_bytes;
    if memory < 0 {
        return Err(field.child("memory_limit_in_bytes").invalid(format!("{memory} is negative")));
    }
    let limits = decode(field, message)?;
    check_swap(limits.memory_limit, limits.memory_swap_limit)
        .map_err(field.child("memory_swap_limit_in_bytes").value())?;
    Ok(limits)
}

/// A change of limits: a memory limit of -1 takes it away, and swap may be named alone.
pub(crate) fn change(
    field: &Field<'_>,
    message: Option<proto::LinuxContainerResources>,
) -> Result<Resources, DecodeError> {
    decode(field, message.unwrap_or_default())
}

fn decode(field: &Field<'_>, message: proto::LinuxContainerResources) -> Result<Resources, DecodeError> {
    let child = |name| field.child(name);
    Ok(Resources {
        cpu_period: number(&child("cpu_period"), message.cpu_period, CpuPeriod::new)?,
        cpu_quota: number(&child("cpu_quota"), message.cpu_quota, CpuQuota::new)?,
        cpu_shares: number(&child("cpu_shares"), message.cpu_shares, CpuShares::new)?,
        memory_limit: number(&child("memory_limit_in_bytes"), message.memory_limit_in_bytes, Bytes::new)?,
        memory_swap_limit: number(
            &child("memory_swap_limit_in_bytes"),
            message.memory_swap_limit_in_bytes,
            Bytes::new,
        )?,
        oom_score_adj: OomScore::new(message.oom_score_adj).map_err(child("oom_score_adj").value())?,
        hugepages: hugepages(&child("hugepage_limits"), message.hugepage_limits)?,
        cpuset_cpus: list(&child("cpuset_cpus"), message.cpuset_cpus)?,
        cpuset_mems: list(&child("cpuset_mems"), message.cpuset_mems)?,
        unified: unified(&child("unified"), message.unified)?,
    })
}

/// 0 says nothing.
fn number<T>(
    field: &Field<'_>,
    value: i64,
    new: impl FnOnce(i64) -> ValueResult<T>,
) -> Result<Option<T>, DecodeError> {
    (value != 0).then(|| new(value)).transpose().map_err(field.value())
}

fn list(field: &Field<'_>, text: String) -> Result<Option<CpuList>, DecodeError> {
    (!text.is_empty()).then(|| CpuList::new(text)).transpose().map_err(field.value())
}

fn hugepages(field: &Field<'_>, limits: Vec<proto::HugepageLimit>) -> Result<Vec<HugePages>, DecodeError> {
    let mut pages: Vec<HugePages> = Vec::with_capacity(limits.len());
    let mut known = HashSet::new();
    for (index, limit) in limits.into_iter().enumerate() {
        let item = field.item(index);
        let field = item.child("page_size");
        let size = PageSize::new(limit.page_size).map_err(field.value())?;
        if !known.insert(size.clone()) {
            return Err(field.invalid(format!("{size} is there twice")));
        }
        pages.push(HugePages { size, limit: limit.limit });
    }
    Ok(pages)
}

/// The keys become names of files in a cgroup.
fn unified(
    field: &Field<'_>,
    unified: BTreeMap<String, String>,
) -> Result<BTreeMap<CgroupFile, String>, DecodeError> {
    let decode = |(key, value): (String, String)| {
        let field = field.key(&key);
        let file = CgroupFile::new(key.as_str()).map_err(field.value())?;
        if value.is_empty() {
            return Err(field.invalid("is empty"));
        }
        text::no_nul(&field, &value)?;
        Ok((file, value))
    };
    unified.into_iter().map(decode).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proto::LinuxContainerResources as Message;

    #[test]
    fn a_change_may_take_the_memory_limit_away() {
        let change = |memory_limit_in_bytes, memory_swap_limit_in_bytes| {
            let message = Message { memory_limit_in_bytes, memory_swap_limit_in_bytes, ..Message::default() };
            super::change(&Field::root("r"), Some(message)).map_err(|error| error.to_string())
        };
        assert_eq!(change(-1, 0).unwrap().memory_limit, Some(Bytes::UNLIMITED));
        assert_eq!(change(0, 5).unwrap().memory_swap_limit.map(Bytes::get), Some(5));
        assert!(change(-2, 0).unwrap_err().starts_with("r.memory_limit_in_bytes: "));
        assert!(change(0, -2).unwrap_err().starts_with("r.memory_swap_limit_in_bytes: "));
    }

    fn decode(message: Message) -> Result<Resources, String> {
        resources(&Field::root("r"), Some(message)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_limit_arrives() {
        let message = Message {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 2,
            memory_limit_in_bytes: 1 << 20,
            oom_score_adj: -999,
            cpuset_cpus: "0-3,7".into(),
            cpuset_mems: "0".into(),
            hugepage_limits: vec![proto::HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 }],
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
            memory_swap_limit_in_bytes: 2 << 20,
        };
        let expected = Resources {
            cpu_period: CpuPeriod::new(100_000).ok(),
            cpu_quota: CpuQuota::new(20_000).ok(),
            cpu_shares: CpuShares::new(2).ok(),
            memory_limit: Bytes::new(1 << 20).ok(),
            memory_swap_limit: Bytes::new(2 << 20).ok(),
            oom_score_adj: OomScore::new(-999).unwrap(),
            cpuset_cpus: CpuList::new("0-3,7").ok(),
            cpuset_mems: CpuList::new("0").ok(),
            hugepages: vec![HugePages { size: PageSize::new("2MB").unwrap(), limit: 4 << 20 }],
            unified: [(CgroupFile::new("memory.high").unwrap(), "1".to_owned())].into(),
        };
        assert_eq!(decode(message), Ok(expected));
        assert_eq!(decode(Message::default()), Ok(Resources::default()));
        assert!(
            decode(Message { cpu_quota: -1, memory_swap_limit_in_bytes: -1, ..Message::default() }).is_ok()
        );
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused_by_name() {
        let unified = |key: &str| [(key.to_owned(), "1".to_owned())].into();
        let huge = |size: &str| proto::HugepageLimit { page_size: size.into(), limit: 1 };
        let table = [
            ("r.cpu_period", Message { cpu_period: 999, ..Message::default() }),
            ("r.cpu_period", Message { cpu_period: -1, ..Message::default() }),
            ("r.cpu_quota", Message { cpu_quota: 999, ..Message::default() }),
            ("r.cpu_quota", Message { cpu_quota: -2, ..Message::default() }),
            ("r.cpu_shares", Message { cpu_shares: 1, ..Message::default() }),
            ("r.cpu_shares", Message { cpu_shares: 262_145, ..Message::default() }),
            ("r.memory_limit_in_bytes", Message { memory_limit_in_bytes: -1, ..Message::default() }),
            (
                "r.memory_swap_limit_in_bytes",
                Message { memory_limit_in_bytes: 2, memory_swap_limit_in_bytes: 1, ..Message::default() },
            ),
            ("r.memory_swap_limit_in_bytes", Message { memory_swap_limit_in_bytes: 1, ..Message::default() }),
            ("r.oom_score_adj", Message { oom_score_adj: 1_001, ..Message::default() }),
            ("r.cpuset_cpus", Message { cpuset_cpus: "3-0".into(), ..Message::default() }),
            ("r.cpuset_cpus", Message { cpuset_cpus: "0,".into(), ..Message::default() }),
            ("r.cpuset_mems", Message { cpuset_mems: "+1".into(), ..Message::default() }),
            (
                "r.hugepage_limits[0].page_size",
                Message { hugepage_limits: vec![huge("2 MB")], ..Message::default() },
            ),
            (
                "r.hugepage_limits[1].page_size",
                Message { hugepage_limits: vec![huge("2MB"), huge("2MB")], ..Message::default() },
            ),
            (r#"r.unified["../x.y"]"#, Message { unified: unified("../x.y"), ..Message::default() }),
            (r#"r.unified["memory"]"#, Message { unified: unified("memory"), ..Message::default() }),
            (
                r#"r.unified["cgroup.procs"]"#,
                Message { unified: unified("cgroup.procs"), ..Message::default() },
            ),
        ];
        for (path, message) in table {
            let error = decode(message).unwrap_err();
            assert!(error.starts_with(&format!("{path}: ")), "{path}: {error}");
        }
    }
}
