//! Cgroups on cgroup v2, v1 and hybrid hosts, for both drivers: where systemd owns the tree, it hands out a scope a
//! pod, and below that everything is as it is where nobody owns it.
//!
//! A container has a leaf of its own in every hierarchy, as with runc, whether anything is limited there or not.
//! Nobody moves a process: the plan names the directories and the child writes itself into them.

mod block_io;
mod counted;
mod detail;
mod device_io;
mod device_program;
mod devices;
mod files;
mod freeze;
mod host;
mod kill;
mod limits;
mod members;
mod meter;
mod nameplate;
mod path;
mod pod;
mod remove;
mod resources;
mod slice;
mod stats;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use block_io::BlockIo;
pub use counted::Counted;
pub use detail::{Detail, HugePages, Throttling};
pub use device_io::DeviceIo;
pub use files::is_vacant;
pub use host::{Host, Mode};
pub use meter::{Meter, Reading, Since};
pub use model::CpuList;
pub use path::CgroupPath;
pub use pod::{Driver, PodCgroup, Scope};
pub use resources::{DeviceAccess, Resources, shares_of_weight, weight_of_shares};
pub use stats::{Pressure, Stall, Stats};

use std::path::PathBuf;
use wire::plan::CgroupPlan;

/// Where a pod's shim lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxCgroup {
    /// For the shim and the pause.
    pub plan: CgroupPlan,
    /// Directories that were made for it and were not there before, parents first. To be kept with the sandbox
    /// and given to [`Host::remove_dirs`] when it goes.
    pub created: Vec<PathBuf>,
}
