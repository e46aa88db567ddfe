//! From the command line to the command.

use sys::process::SingleThread;

use crate::args::{Args, Command};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::{
    create, delete, events, exec, features, foreground, kill, list, log, pause, ps, spec, start, update,
};

/// Carries a command out; the code is the program's own where this process stands in for it.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let global = &args.global;
    if global.systemd_cgroup {
        return Err(Error::invalid("--systemd-cgroup", "is not supported: cgroups are made by cgroupfs"));
    }
    if !matches!(global.rootless.as_str(), "auto" | "false") {
        return Err(Error::invalid("--rootless", "is not supported"));
    }
    log::debug(global, &format!("{:?}", args.command));
    let context = &Context { global, single: SingleThread::claim()? };
    match &args.command {
        Command::Create(args) => {
            seal()?;
            create::create(context, args, true).map(drop)
        }
        Command::Run(args) => {
            seal()?;
            return foreground::run(context, args);
        }
        Command::Exec(args) => {
            seal()?;
            return exec::exec(context, args).map_err(|error| Error::Exec(Box::new(error)));
        }
        Command::Start(args) => start::start(context, &args.id),
        Command::State(args) => list::state(context, &args.id),
        Command::Kill(args) => kill::kill(context, args),
        Command::Delete(args) => delete::delete(context, args),
        Command::Features => features::features(),
        Command::Spec(args) => spec::spec(args),
        Command::Update(args) => update::update(context, args),
        Command::Pause(args) => pause::pause(context, &args.id),
        Command::Resume(args) => pause::resume(context, &args.id),
        Command::Ps(args) => ps::ps(context, args),
        Command::Events(args) => events::events(context, args),
        Command::List(args) => list::list(context, args),
    }
    .map(|()| 0)
}

/// Before anything of a container runs in this process: what a container finds at `/proc/<pid>/exe` must not lead to
/// the program's file (CVE-2019-5736).
fn seal() -> Result<()> {
    sys::privilege::set_undumpable()?;
    sys::exec::from_read_only_copy()?;
    // Executed through a descriptor it would be called by its number.
    sys::process::set_name(c"corten-oci");
    Ok(())
}
