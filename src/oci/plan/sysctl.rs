//! Kernel parameters of a pod: only those that a namespace keeps to itself.

use crate::error::{OciError, OciResult};
use wire::plan::Bytes;

const FIELD: &str = "linux.sysctls";

/// Parameters of the IPC namespace.
const IPC: [&str; 12] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg_next_id",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.auto_msgmni",
];

/// Which namespaces the pod has of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) ipc: bool,
    pub(super) network: bool,
    pub(super) uts: bool,
}

/// Checks a pod's parameters.
///
/// # Errors
/// [`OciError::Invalid`] for a malformed name or value, and for a parameter that would change the host.
pub(super) fn of_pod<'a>(
    all: impl Iterator<Item = (&'a String, &'a String)>,
    own: Own,
) -> OciResult<Vec<(Bytes, Bytes)>> {
    let checked = plain(all)?;
    for (name, _) in &checked {
        let name = String::from_utf8_lossy(name);
        let is_ipc = IPC.contains(&name.as_ref()) || name.starts_with("fs.mqueue.");
        let kept = if is_ipc {
            own.ipc
        } else if name.starts_with("net.") {
            own.network
        } else {
            (name == "kernel.domainname") && own.uts
        };
        if !kept {
            return Err(OciError::invalid(
                FIELD,
                format!("{name:?} is not a parameter of the pod's own namespaces"),
            ));
        }
    }
    Ok(checked)
}

/// Names with dots, and values, as given but checked. Slashes are another spelling of dots; a name that mixes them
/// (an interface with a dot in its name) cannot be told apart and is refused, as is the `+` by which a list of
/// parameters would be smuggled into one.
pub(super) fn plain<'a>(
    all: impl Iterator<Item = (&'a String, &'a String)>,
) -> OciResult<Vec<(Bytes, Bytes)>> {
    let mut checked = Vec::new();
    for (name, value) in all {
        let refuse = |why: &str| Err(OciError::invalid(FIELD, format!("{name:?} {why}")));
        if name.contains('/') && name.contains('.') {
            return refuse("mixes dots and slashes");
        }
        let dotted = name.replace('/', ".");
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !dotted.chars().all(known) || dotted.split('.').any(str::is_empty) || !dotted.contains('.') {
            return refuse("is not the name of a kernel parameter");
        }
        if value.chars().any(|c| c == '+' || (c.is_control() && c != '\t')) {
            return refuse("has a value with a plus sign or a control character");
        }
        checked.push((dotted.into_bytes(), value.clone().into_bytes()));
    }
    checked.sort();
    Ok(checked)
}
