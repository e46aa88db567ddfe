//! Limits as messages, and back.

use crate::api::{
    HugepageLimit, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources, OptionalBool,
    OptionalInt64, OptionalUInt64,
};
use model::{
    Bytes, CgroupFile, CpuList, CpuPeriod, CpuQuota, CpuShares, HugePages, PageSize, Resources, ValueError,
    ValueResult,
};
use oci_spec::runtime as oci;

/// A limit that a plugin asks for and that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The kernel takes no such value.
    #[error("linux.resources.{field}: {source}")]
    Value {
        /// The field of the message.
        field: &'static str,
        /// What is wrong with it.
        source: ValueError,
    },
    /// Of a container that is there already it cannot be changed.
    #[error("linux.resources.{0} cannot be changed once the container is created")]
    Fixed(&'static str),
}

fn signed(value: i64) -> OptionalInt64 {
    OptionalInt64 { value }
}

fn unsigned(value: u64) -> OptionalUInt64 {
    OptionalUInt64 { value }
}

fn flag(value: bool) -> OptionalBool {
    OptionalBool { value }
}

/// As a spec has them.
pub fn of_spec(limits: &oci::LinuxResources) -> LinuxResources {
    let pages = |limit: &oci::LinuxHugepageLimit| HugepageLimit {
        page_size: limit.page_size().clone(),
        limit: u64::try_from(limit.limit()).unwrap_or_default(),
    };
    let rule = |rule: &oci::LinuxDeviceCgroup| LinuxDeviceCgroup {
        allow: rule.allow(),
        r#type: rule.typ().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        major: rule.major().map(signed),
        minor: rule.minor().map(signed),
        access: rule.access().clone().unwrap_or_default(),
    };
    LinuxResources {
        memory: limits.memory().as_ref().map(memory_of_spec),
        cpu: limits.cpu().as_ref().map(|cpu| LinuxCpu {
            shares: cpu.shares().map(unsigned),
            quota: cpu.quota().map(signed),
            period: cpu.period().map(unsigned),
            realtime_runtime: cpu.realtime_runtime().map(signed),
            realtime_period: cpu.realtime_period().map(unsigned),
            cpus: cpu.cpus().clone().unwrap_or_default(),
            mems: cpu.mems().clone().unwrap_or_default(),
        }),
        hugepage_limits: limits.hugepage_limits().iter().flatten().map(pages).collect(),
        unified: limits.unified().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
        devices: limits.devices().iter().flatten().map(rule).collect(),
        pids: limits.pids().as_ref().map(|pids| LinuxPids { limit: pids.limit() }),
        ..LinuxResources::default()
    }
}

fn memory_of_spec(memory: &oci::LinuxMemory) -> LinuxMemory {
    #[allow(deprecated, reason = "plugins may still ask for it")]
    let kernel = memory.kernel();
    LinuxMemory {
        limit: memory.limit().map(signed),
        reservation: memory.reservation().map(signed),
        swap: memory.swap().map(signed),
        kernel: kernel.map(signed),
        kernel_tcp: memory.kernel_tcp().map(signed),
        swappiness: memory.swappiness().map(unsigned),
        disable_oom_killer: memory.disable_oom_killer().map(flag),
        use_hierarchy: memory.use_hierarchy().map(flag),
    }
}

/// As a request of the kubelet has them; what it does not say is not there.
pub fn of_request(limits: &Resources) -> LinuxResources {
    let list = |list: &Option<CpuList>| list.as_ref().map(CpuList::to_string).unwrap_or_default();
    let pages = |pages: &HugePages| HugepageLimit { page_size: pages.size.to_string(), limit: pages.limit };
    LinuxResources {
        memory: Some(LinuxMemory {
            limit: limits.memory_limit.map(Bytes::get).map(signed),
            swap: limits.memory_swap_limit.map(Bytes::get).map(signed),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: limits.cpu_shares.map(|shares| unsigned(shares.get().unsigned_abs())),
            quota: limits.cpu_quota.map(|quota| signed(quota.get())),
            period: limits.cpu_period.map(|period| unsigned(period.get().unsigned_abs())),
            cpus: list(&limits.cpuset_cpus),
            mems: list(&limits.cpuset_mems),
            ..LinuxCpu::default()
        }),
        hugepage_limits: limits.hugepages.iter().map(pages).collect(),
        unified: limits.unified.iter().map(|(file, value)| (file.to_string(), value.clone())).collect(),
        ..LinuxResources::default()
    }
}

/// What a plugin asks for of a container that is there, as a change of its limits: what it does not name stays.
///
/// # Errors
/// [`LimitError`] for a value that the kernel does not take, and for what cannot be changed any more.
pub fn change_of(asked: &LinuxResources) -> Result<Resources, LimitError> {
    fixed(asked)?;
    changeable(asked)
}

/// The limits among what a plugin asks for of a container that is to be created which can be changed later too.
///
/// # Errors
/// [`LimitError`] for a value that the kernel does not take.
pub fn changeable(asked: &LinuxResources) -> Result<Resources, LimitError> {
    let none = (LinuxMemory::default(), LinuxCpu::default());
    let memory = asked.memory.as_ref().unwrap_or(&none.0);
    let cpu = asked.cpu.as_ref().unwrap_or(&none.1);
    let list = |field, text: &String| {
        let list = (!text.is_empty()).then(|| CpuList::new(text.as_str())).transpose();
        list.map_err(|source| LimitError::Value { field, source })
    };
    let natural = |value: OptionalUInt64| i64::try_from(value.value).unwrap_or(i64::MAX);
    let mut change = Resources {
        cpu_shares: number("cpu.shares", cpu.shares.map(natural), CpuShares::new)?,
        cpu_quota: number("cpu.quota", cpu.quota.map(|value| value.value), CpuQuota::new)?,
        cpu_period: number("cpu.period", cpu.period.map(natural), CpuPeriod::new)?,
        cpuset_cpus: list("cpu.cpus", &cpu.cpus)?,
        cpuset_mems: list("cpu.mems", &cpu.mems)?,
        memory_limit: number("memory.limit", memory.limit.map(|value| value.value), Bytes::new)?,
        memory_swap_limit: number("memory.swap", memory.swap.map(|value| value.value), Bytes::new)?,
        ..Resources::default()
    };
    for limit in &asked.hugepage_limits {
        let size = PageSize::new(limit.page_size.as_str())
            .map_err(|source| LimitError::Value { field: "hugepage_limits", source })?;
        change.hugepages.retain(|known| known.size != size);
        change.hugepages.push(HugePages { size, limit: limit.limit });
    }
    for (key, value) in &asked.unified {
        let file =
            CgroupFile::new(key.as_str()).map_err(|source| LimitError::Value { field: "unified", source })?;
        change.unified.insert(file, value.clone());
    }
    Ok(change)
}

/// 0 says nothing, as in a request.
fn number<T>(
    field: &'static str,
    value: Option<i64>,
    new: impl FnOnce(i64) -> ValueResult<T>,
) -> Result<Option<T>, LimitError> {
    let value = value.filter(|value| *value != 0).map(new).transpose();
    value.map_err(|source| LimitError::Value { field, source })
}

/// What a container has from its creation on.
fn fixed(asked: &LinuxResources) -> Result<(), LimitError> {
    let memory = asked.memory.as_ref();
    let is_set = |value: Option<OptionalInt64>| value.is_some_and(|value| value.value != 0);
    let is_true = |value: Option<OptionalBool>| value.is_some_and(|value| value.value);
    let asks = [
        ("memory.reservation", memory.is_some_and(|memory| is_set(memory.reservation))),
        ("memory.kernel", memory.is_some_and(|memory| is_set(memory.kernel))),
        ("memory.kernel_tcp", memory.is_some_and(|memory| is_set(memory.kernel_tcp))),
        ("memory.swappiness", memory.is_some_and(|memory| memory.swappiness.is_some())),
        ("memory.disable_oom_killer", memory.is_some_and(|memory| is_true(memory.disable_oom_killer))),
        ("cpu.realtime_runtime", asked.cpu.as_ref().is_some_and(|cpu| is_set(cpu.realtime_runtime))),
        (
            "cpu.realtime_period",
            asked.cpu.as_ref().and_then(|cpu| cpu.realtime_period).is_some_and(|value| value.value != 0),
        ),
        ("pids", asked.pids.is_some_and(|pids| pids.limit != 0)),
        ("devices", !asked.devices.is_empty()),
        ("blockio_class", asked.blockio_class.is_some()),
        ("rdt_class", asked.rdt_class.is_some()),
    ];
    match asks.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(LimitError::Fixed(field)),
        None => Ok(()),
    }
}
