//! `pause` and `resume`.

use oci::cgroup::Host;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::state::Dir;
use crate::status::Status;

/// Freezes a container that is created or runs.
pub(crate) fn pause(context: &Context<'_>, id: &str) -> Result<()> {
    let (dir, record) = Dir::open(&context.global.root, id)?;
    let host = Host::detect()?;
    match dir.status(&record, Some(&host)) {
        Status::Created | Status::Running => Ok(host.freeze(&record.cgroup()?)?),
        status => Err(Error::State { operation: "pause", id: id.to_owned(), status }),
    }
}

/// Lets a frozen container go on.
pub(crate) fn resume(context: &Context<'_>, id: &str) -> Result<()> {
    let (dir, record) = Dir::open(&context.global.root, id)?;
    let host = Host::detect()?;
    match dir.status(&record, Some(&host)) {
        Status::Paused => Ok(host.thaw_one(&record.cgroup()?)?),
        status => Err(Error::State { operation: "resume", id: id.to_owned(), status }),
    }
}
