//! Limits.

use super::{DecodeError, Field, text};
use crate::proto;
use model::Resources;
use std::ops::RangeInclusive;

/// What the kernel takes as a CFS period, in µs.
const CPU_PERIOD: RangeInclusive<i64> = 1_000..=1_000_000;
/// The least that the kernel takes as a CFS quota, in µs.
const CPU_QUOTA_MIN: i64 = 1_000;
/// What the kernel takes as cgroup v1's weight.
const CPU_SHARES: RangeInclusive<i64> = 2..=262_144;
/// proc_pid_oom_score_adj(5).
const OOM_SCORE_ADJ: RangeInclusive<i64> = -1_000..=1_000;

/// Limits with every value in its range; an absent message sets none.
pub(crate) fn resources(
    field: &Field<'_>,
    message: Option<proto::LinuxContainerResources>,
) -> Result<Resources, DecodeError> {
    let message = message.unwrap_or_default();
    check_memory(field, &message)?;
    decode(field, message)
}

/// A change of limits: a memory limit of -1 takes it away, and swap may be named alone.
pub(crate) fn change(
    field: &Field<'_>,
    message: Option<proto::LinuxContainerResources>,
) -> Result<Resources, DecodeError> {
    let message = message.unwrap_or_default();
    let (memory, swap) = (message.memory_limit_in_bytes, message.memory_swap_limit_in_bytes);
    if memory < -1 {
        return Err(field
            .child("memory_limit_in_bytes")
            .invalid(format!("{memory} is neither -1 nor a size")));
    }
    if swap < -1 {
        let field = field.child("memory_swap_limit_in_bytes");
        return Err(field.invalid(format!("{swap} is neither -1 nor a size")));
    }
    decode(field, message)
}

fn decode(field: &Field<'_>, message: proto::LinuxContainerResources) -> Result<Resources, DecodeError> {
    check_cpu(field, &message)?;
    within(field, "oom_score_adj", message.oom_score_adj, &OOM_SCORE_ADJ)?;
    Ok(Resources {
        cpu_period: message.cpu_period,
        cpu_quota: message.cpu_quota,
        cpu_shares: message.cpu_shares,
        memory_limit: message.memory_limit_in_bytes,
        memory_swap_limit: message.memory_swap_limit_in_bytes,
        oom_score_adj: message.oom_score_adj,
        hugepages: hugepages(&field.child("hugepage_limits"), message.hugepage_limits)?,
        cpuset_cpus: message.cpuset_cpus,
        cpuset_mems: message.cpuset_mems,
        unified: {
            check_unified(&field.child("unified"), &message.unified)?;
            message.unified
        },
    })
}

fn within(field: &Field<'_>, name: &str, value: i64, range: &RangeInclusive<i64>) -> Result<(), DecodeError> {
    if value == 0 || range.contains(&value) {
        return Ok(());
    }
    let (start, end) = (range.start(), range.end());
    Err(field.child(name).invalid(format!("{value} is not within {start} to {end}")))
}

fn check_cpu(field: &Field<'_>, message: &proto::LinuxContainerResources) -> Result<(), DecodeError> {
    within(field, "cpu_period", message.cpu_period, &CPU_PERIOD)?;
    within(field, "cpu_shares", message.cpu_shares, &CPU_SHARES)?;
    let quota = message.cpu_quota;
    if !matches!(quota, -1 | 0) && quota < CPU_QUOTA_MIN {
        return Err(field
            .child("cpu_quota")
            .invalid(format!("{quota} is neither -1 nor {CPU_QUOTA_MIN} or more")));
    }
    for (name, list) in [("cpuset_cpus", &message.cpuset_cpus), ("cpuset_mems", &message.cpuset_mems)] {
        if !list.is_empty() && !list.split(',').all(is_range) {
            return Err(field.child(name).invalid(format!("{list:?} is no list such as 0-3,7")));
        }
    }
    Ok(())
}

/// `7` or `0-3`, as cpuset(7) writes them.
fn is_range(text: &str) -> bool {
    let number = |text: &str| {
        // `parse` would take a sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    match text.split_once('-') {
        None => number(text).is_some(),
        Some((first, last)) => matches!((number(first), number(last)), (Some(a), Some(b)) if a <= b),
    }
}

fn check_memory(field: &Field<'_>, message: &proto::LinuxContainerResources) -> Result<(), DecodeError> {
    let (memory, swap) = (message.memory_limit_in_bytes, message.memory_swap_limit_in_bytes);
    if memory < 0 {
        return Err(field.child("memory_limit_in_bytes").invalid(format!("{memory} is negative")));
    }
    let field = field.child("memory_swap_limit_in_bytes");
    if swap < -1 {
        return Err(field.invalid(format!("{swap} is neither -1 nor a size")));
    }
    if swap > 0 && swap < memory {
        return Err(field.invalid(format!("{swap} is less than the memory limit, which it includes")));
    }
    if swap > 0 && memory == 0 {
        return Err(field.invalid("needs a memory limit beside it"));
    }
    Ok(())
}

fn hugepages(
    field: &Field<'_>,
    limits: Vec<proto::HugepageLimit>,
) -> Result<Vec<(String, u64)>, DecodeError> {
    let mut pages: Vec<(String, u64)> = Vec::with_capacity(limits.len());
    for (index, limit) in limits.into_iter().enumerate() {
        let item = field.item(index);
        let field = item.child("page_size");
        let size = limit.page_size;
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(field.invalid(format!("{size:?} is no size such as 2MB")));
        }
        if pages.iter().any(|(known, _)| *known == size) {
            return Err(field.invalid(format!("{size} is there twice")));
        }
        pages.push((size, limit.limit));
    }
    Ok(pages)
}

/// The keys become names of files in a cgroup.
fn check_unified(
    field: &Field<'_>,
    unified: &std::collections::BTreeMap<String, String>,
) -> Result<(), DecodeError> {
    for (key, value) in unified {
        let field = field.key(key);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let (controller, file) = key.split_once('.').unwrap_or_default();
        if controller.is_empty() || file.is_empty() || !key.bytes().all(allowed) {
            return Err(field.invalid("is no file of a cgroup, such as memory.max"));
        }
        if controller == "cgroup" {
            return Err(field.invalid("would change the cgroup itself, not a limit"));
        }
        text::no_nul(&field, value)?;
    }
    Ok(())
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
        assert_eq!(change(-1, 0).unwrap().memory_limit, -1);
        assert_eq!(change(0, 5).unwrap().memory_swap_limit, 5);
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
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 2,
            memory_limit: 1 << 20,
            memory_swap_limit: 2 << 20,
            oom_score_adj: -999,
            cpuset_cpus: "0-3,7".into(),
            cpuset_mems: "0".into(),
            hugepages: vec![("2MB".into(), 4 << 20)],
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
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
