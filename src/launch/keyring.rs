//! The session keyring of a container: one of its own, which its commands join.

use sys::keyring;

use crate::Failure;
use crate::labels::Labels;

/// Makes and joins the keyring of a container, as root of its user namespace.
pub(super) fn make(container: &str, labels: &Labels) -> Result<(), Failure> {
    labels.apply_to_keys()?;
    Ok(keyring::join(&name(container), true)?)
}

/// Joins it for a command. Where its first process has left it for another there is one for the command.
pub(super) fn join(container: &str, labels: &Labels) -> Result<(), Failure> {
    labels.apply_to_keys()?;
    Ok(keyring::join(&name(container), false)?)
}

/// As other runtimes call it.
fn name(container: &str) -> Vec<u8> {
    [b"_ses.", container.as_bytes()].concat()
}
