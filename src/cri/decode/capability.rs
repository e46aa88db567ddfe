//! Names of capabilities.

use super::{DecodeError, Field};
use crate::proto;
use model::Capabilities;

/// What Linux 6.x knows, capabilities(7).
const KNOWN: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The changes to the default set.
pub(crate) fn capabilities(
    field: &Field<'_>,
    message: Option<proto::Capability>,
) -> Result<Capabilities, DecodeError> {
    let message = message.unwrap_or_default();
    check(&field.child("add_capabilities"), &message.add_capabilities, true)?;
    check(&field.child("drop_capabilities"), &message.drop_capabilities, true)?;
    check(&field.child("add_ambient_capabilities"), &message.add_ambient_capabilities, false)?;
    Ok(Capabilities {
        add: message.add_capabilities,
        drop: message.drop_capabilities,
        add_ambient: message.add_ambient_capabilities,
    })
}

fn check(field: &Field<'_>, names: &[String], all_allowed: bool) -> Result<(), DecodeError> {
    for (index, name) in names.iter().enumerate() {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if !(KNOWN.contains(&plain) || (all_allowed && plain == "ALL")) {
            return Err(field.item(index).invalid(format!("{name:?} is no capability")));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_spelling_and_no_others() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let field = Field::root("capabilities");
        let good = proto::Capability {
            add_capabilities: names(&["NET_ADMIN", "CAP_SYS_TIME", "cap_chown", "ALL"]),
            drop_capabilities: names(&["all"]),
            add_ambient_capabilities: names(&["NET_BIND_SERVICE"]),
        };
        assert!(capabilities(&field, Some(good)).is_ok());
        for bad in ["", "CAP_", "NET-ADMIN", "FLY"] {
            let message = proto::Capability { add_capabilities: names(&[bad]), ..Default::default() };
            let error = capabilities(&field, Some(message)).unwrap_err().to_string();
            assert!(error.starts_with("capabilities.add_capabilities[0]: "), "{error}");
        }
        let message = proto::Capability { add_ambient_capabilities: names(&["ALL"]), ..Default::default() };
        assert!(capabilities(&field, Some(message)).is_err());
    }
}
