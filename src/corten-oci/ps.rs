//! `ps`: a container's processes.

use std::process::Command;

use oci::cgroup::Host;

use crate::args::{self, Format};
use crate::context::{Context, print};
use crate::error::{Error, Result};
use crate::state::Dir;

/// Prints the numbers, or those lines of ps(1) that are about the container.
pub(crate) fn ps(context: &Context<'_>, args: &args::Ps) -> Result<()> {
    let (_, record) = Dir::open(&context.global.root, &args.id)?;
    let mut pids = Host::detect()?.procs(&record.cgroup()?);
    pids.sort_unstable();
    if args.format == Format::Json {
        return print(&serde_json::to_string(&pids).map_err(Error::json("ps"))?);
    }
    let default = ["-ef".to_owned()];
    let options = if args.options.is_empty() { &default } else { args.options.as_slice() };
    let output = Command::new("ps").args(options).output().map_err(Error::io("run", "ps"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::invalid("ps options", "their output has no column PID"))?;
    print(heading)?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.binary_search(&pid).is_ok())
    };
    lines.filter(is_ours).try_for_each(print)
}
