//! `delete`: nothing of a container is left.

use std::thread::sleep;
use std::time::{Duration, Instant};

use oci::cgroup::Host;

use crate::args;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::hooks::{self, Stage};
use crate::state::{Dir, Record};
use crate::status::Status;
use crate::{kill, log};

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Deletes a stopped container, one that was never started, and with `--force` any.
pub(crate) fn delete(context: &Context<'_>, args: &args::Delete) -> Result<()> {
    let (dir, record) = match Dir::open(&context.global.root, &args.id) {
        Err(Error::NoSuchContainer(_)) if args.force => return Dir::clear(&context.global.root, &args.id),
        found => found?,
    };
    let host = Host::detect()?;
    match dir.status(&record, Some(&host)) {
        Status::Stopped => {}
        Status::Created => end(&host, &record)?,
        _ if args.force => end(&host, &record)?,
        status => return Err(Error::NotStopped { id: args.id.clone(), status }),
    }
    remove(context, &host, &dir, &record)
}

fn end(host: &Host, record: &Record) -> Result<()> {
    kill::end(host, record)?;
    let until = Instant::now() + PATIENCE;
    while record.is_alive() {
        if Instant::now() >= until {
            return Err(Error::NotStopped { id: record.id.clone(), status: Status::Running });
        }
        sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Removes what a stopped container leaves.
pub(crate) fn remove(context: &Context<'_>, host: &Host, dir: &Dir, record: &Record) -> Result<()> {
    let cgroup = record.cgroup()?;
    host.kill(&cgroup)?;
    host.remove(&cgroup)?;
    // Without its configuration a container has no hooks; it goes all the same.
    let spec = dir.spec();
    let told = record.json(Status::Stopped)?;
    dir.remove()?;
    match spec {
        Ok(spec) => {
            for error in hooks::run_all(&spec, Stage::Poststop, &told) {
                log::warning(context.global, &error.to_string());
            }
        }
        Err(error) => log::warning(context.global, &error.to_string()),
    }
    Ok(())
}
