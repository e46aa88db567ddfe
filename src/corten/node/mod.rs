//! `corten node`: Corten put onto a host from a container that has the host's root mounted, and taken away again. Whatever was
//! there before is kept and put back; a host that Corten would break is left as it is.
//!
//! Programs of the host (systemctl, and Corten's own once they are copied) run in its root by chroot(2), not in its
//! namespaces: systemctl speaks to systemd over the sockets below `/run`, which are the host's own.

mod enter;
mod error;
mod hand;
mod host;
mod install;
mod kubelet;
mod place;
mod record;
mod roll;
mod source;
mod stay;
#[cfg(test)]
mod tests;
mod uninstall;

pub(crate) use error::NodeError;

use crate::error::Error;
use cli::node::NodeCommand;
use hand::InRoot;
use host::Host;

/// The unit of the daemon.
const UNIT: &str = "corten.service";
/// Where the installer keeps what it needs for taking everything away again.
const OWN: &str = "/var/lib/corten-node";

/// What became of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// As it was to be.
    Done,
    /// So, too, and the kubelet now asks another runtime than that of the container in which this runs.
    Moved,
}

/// Does what a command asks for.
///
/// # Errors
/// The host refuses, or is refused.
pub(crate) fn run(command: NodeCommand) -> Result<(), Error> {
    match command {
        NodeCommand::Install(arguments) => stay::run(&arguments.host, || {
            let host = Host::new(&arguments.host.root);
            let hand = InRoot::new(&arguments.host.root);
            install::install(&host, &hand, &arguments.sources, arguments.switch)
        })?,
        NodeCommand::Uninstall(arguments) => stay::run(&arguments.host, || {
            let host = Host::new(&arguments.host.root);
            let (outcome, told) = uninstall::uninstall(&host, &InRoot::new(&arguments.host.root))?;
            told.iter().for_each(|line| stay::say(&format!("corten: {line}\n")));
            Ok(outcome)
        })?,
        NodeCommand::Roll(arguments) => roll::roll(&arguments)?,
        NodeCommand::Ready(arguments) => stay::ready(&arguments.report)?,
        NodeCommand::Enter(arguments) => return Err(enter::enter(&arguments).into()),
    }
    Ok(())
}
