//! `update`: other limits for a container that is there.

use std::io::Read;
use std::path::Path;

use oci::cgroup::{Host, Resources};
use oci_spec::runtime::LinuxResources;

use crate::args;
use crate::check;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::state::Dir;
use crate::status::Status;

const LIMIT: u64 = 1 << 20;

/// Sets the limits of a resources object, and those of the options over it.
pub(crate) fn update(context: &Context<'_>, args: &args::Update) -> Result<()> {
    let (dir, record) = Dir::open(&context.global.root, &args.id)?;
    let host = Host::detect()?;
    let status = dir.status(&record, Some(&host));
    if status == Status::Stopped {
        return Err(Error::State { operation: "update", id: args.id.clone(), status });
    }
    let mut resources = match &args.resources {
        Some(path) => read(path)?,
        None => Resources::default(),
    };
    resources.cpuset_cpus = args.cpuset_cpus.clone().or(resources.cpuset_cpus);
    resources.cpuset_mems = args.cpuset_mems.clone().or(resources.cpuset_mems);
    resources.cpu_period = args.cpu_period.or(resources.cpu_period);
    resources.cpu_quota = args.cpu_quota.or(resources.cpu_quota);
    resources.cpu_shares = args.cpu_share.or(resources.cpu_shares);
    resources.memory_limit = args.memory.or(resources.memory_limit);
    resources.memory_swap = args.memory_swap.or(resources.memory_swap);
    resources.pids_limit = args.pids_limit.or(resources.pids_limit);
    Ok(host.update(&record.cgroup()?, &resources)?)
}

fn read(path: &Path) -> Result<Resources> {
    let text = if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().take(LIMIT).read_to_end(&mut text).map_err(Error::io("read", "stdin"))?;
        text
    } else {
        std::fs::read(path).map_err(Error::io("read", path))?
    };
    let spec: LinuxResources = serde_json::from_slice(&text).map_err(Error::json(path))?;
    check::resources(&spec)?;
    Ok(Resources::from_spec(&spec)?)
}
