//! `list` and `state`.

use std::path::Path;

use oci::cgroup::Host;

use crate::args::{self, Format};
use crate::context::{Context, print};
use crate::error::{Error, Result};
use crate::state::{Dir, Record};
use crate::status::Status;

/// Prints one container's state.
pub(crate) fn state(context: &Context<'_>, id: &str) -> Result<()> {
    let (dir, record) = Dir::open(&context.global.root, id)?;
    let told = record.told(dir.status(&record, Host::detect().ok().as_ref()));
    print(&serde_json::to_string_pretty(&told).map_err(Error::json("state"))?)
}

/// Prints every container below the root.
pub(crate) fn list(context: &Context<'_>, args: &args::List) -> Result<()> {
    let host = Host::detect().ok();
    let mut found: Vec<(Record, Status)> = ids(&context.global.root)?
        .iter()
        // One that goes away in this moment is not listed.
        .filter_map(|id| Dir::open(&context.global.root, id).ok())
        .map(|(dir, record)| {
            let status = dir.status(&record, host.as_ref());
            (record, status)
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    if args.quiet {
        return found.iter().try_for_each(|(record, _)| print(&record.id));
    }
    if args.format == Format::Json {
        let told: Vec<_> = found.iter().map(|(record, status)| record.told(*status)).collect();
        return print(&serde_json::to_string(&told).map_err(Error::json("list"))?);
    }
    print("ID\tPID\tSTATUS\tBUNDLE\tCREATED")?;
    for (record, status) in &found {
        let pid = if *status == Status::Stopped { 0 } else { record.pid };
        print(&format!("{}\t{pid}\t{status}\t{}\t{}", record.id, record.bundle.display(), record.created))?;
    }
    Ok(())
}

fn ids(root: &Path) -> Result<Vec<String>> {
    match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries
            .map_err(Error::io("list", root))?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()),
    }
}
