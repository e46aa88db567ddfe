//! What a pod's processes use, and what they may use: as the host's cgroups tell, or a supervisor that keeps it elsewhere.

use oci::OciResult;
use oci::cgroup::{CgroupPath, Detail, DeviceIo, Host, Meter, Reading, Resources, Since};

/// Counters that are read again and again.
pub(crate) trait Counters: Send + Sync {
    /// Descriptors that they keep open from the start.
    fn descriptors(&self) -> usize;
    /// Closes what is read only where something has run: from then on `read_if_idle` tells, and `read` no more.
    fn narrow(&mut self);
    /// What they say; `None` once what they count is gone. What is known from before may spare some of the reading.
    fn read(&self, since: Since<'_>) -> OciResult<Option<Reading>>;
    /// The same where nothing has run since; `None` where something may have, or what they count is gone.
    fn read_if_idle(&self, since: Since<'_>) -> OciResult<Option<Reading>>;
    /// How many processes there are.
    fn processes(&self) -> u64;
    /// Input and output by device, where the host's cgroups are what counts; `None`: the accounts are to be asked.
    fn devices(&self, _host: &Host) -> OciResult<Option<Vec<DeviceIo>>> {
        Ok(None)
    }
}

/// Of a pod as a whole and of its containers, by the names of their cgroups. All of this blocks.
pub(crate) trait Accounts: Send + Sync {
    /// Begins to count.
    fn counters(&self, of: &CgroupPath) -> OciResult<Box<dyn Counters>>;
    /// Everything that is counted, for metrics.
    fn detail(&self, of: &CgroupPath) -> OciResult<Detail>;
    /// Input and output alone, by device.
    fn devices(&self, of: &CgroupPath) -> OciResult<Vec<DeviceIo>>;
    /// The processes, as far as the host knows them.
    fn processes(&self, of: &CgroupPath) -> Vec<i32>;
    /// The limits in force, of those that are `like` these.
    fn limits(&self, of: &CgroupPath, like: &Resources) -> OciResult<Resources>;
    /// Changes limits: either all of them or none.
    fn limit(&self, of: &CgroupPath, to: &Resources) -> OciResult<()>;
}

impl Counters for Meter {
    fn descriptors(&self) -> usize {
        Self::descriptors(self)
    }

    fn narrow(&mut self) {
        Self::narrow(self);
    }

    fn read(&self, since: Since<'_>) -> OciResult<Option<Reading>> {
        self.read_since(since)
    }

    fn read_if_idle(&self, since: Since<'_>) -> OciResult<Option<Reading>> {
        Self::read_if_idle(self, since)
    }

    fn processes(&self) -> u64 {
        Self::processes(self)
    }

    fn devices(&self, host: &Host) -> OciResult<Option<Vec<DeviceIo>>> {
        Self::devices(self, host).map(Some)
    }
}

impl Accounts for Host {
    fn counters(&self, of: &CgroupPath) -> OciResult<Box<dyn Counters>> {
        Ok(Box::new(self.meter(of)?))
    }

    fn detail(&self, of: &CgroupPath) -> OciResult<Detail> {
        Self::detail(self, of)
    }

    fn devices(&self, of: &CgroupPath) -> OciResult<Vec<DeviceIo>> {
        Self::devices(self, of)
    }

    fn processes(&self, of: &CgroupPath) -> Vec<i32> {
        self.procs(of)
    }

    fn limits(&self, of: &CgroupPath, like: &Resources) -> OciResult<Resources> {
        Self::limits(self, of, like)
    }

    fn limit(&self, of: &CgroupPath, to: &Resources) -> OciResult<()> {
        self.update(of, to)
    }
}
