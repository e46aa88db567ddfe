//! Accounts of a pod that are none of the host's, as those of a virtual machine.

use super::FakeNode;
use crate::supervisor::{Accounts, Counters};
use oci::OciResult;
use oci::cgroup::{CgroupPath, Detail, DeviceIo, Reading, Resources, Since, Stats};
use sys::sync::lock;

struct Counted(u64);

impl Counters for Counted {
    fn descriptors(&self) -> usize {
        0
    }

    fn read(&self, _: Since<'_>) -> OciResult<Option<Reading>> {
        Ok(Some(Reading::Whole(Stats { cpu_usage_ns: self.0, ..Stats::default() })))
    }

    fn narrow(&mut self) {}

    fn read_if_idle(&self, _: Since<'_>) -> OciResult<Option<Reading>> {
        Ok(None)
    }

    fn processes(&self) -> u64 {
        2
    }
}

/// Everything uses as much as its name is long.
impl Accounts for FakeNode {
    fn counters(&self, of: &CgroupPath) -> OciResult<Box<dyn Counters>> {
        Ok(Box::new(Counted(of.to_string().len() as u64)))
    }

    fn detail(&self, _: &CgroupPath) -> OciResult<Detail> {
        Ok(Detail::default())
    }

    fn devices(&self, _: &CgroupPath) -> OciResult<Vec<DeviceIo>> {
        Ok(Vec::new())
    }

    fn processes(&self, _: &CgroupPath) -> Vec<i32> {
        vec![1 << 29, (1 << 29) + 1]
    }

    fn limits(&self, of: &CgroupPath, _: &Resources) -> OciResult<Resources> {
        Ok(lock(&self.0).limits.get(&of.to_string()).cloned().unwrap_or_default())
    }

    fn limit(&self, of: &CgroupPath, to: &Resources) -> OciResult<()> {
        lock(&self.0).limits.insert(of.to_string(), to.clone());
        Ok(())
    }
}
