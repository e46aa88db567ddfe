//! Limits, each with the values that the kernel takes. A value is checked once, where it is made.

mod numbers;
mod resources;
mod text;

pub use numbers::{Bytes, CpuPeriod, CpuQuota, CpuShares, OomScore, check_swap};
pub use resources::{HugePages, Resources};
pub use text::{CgroupFile, CpuList, PageSize};
