//! `UserNamespace`.

use super::{DecodeError, Field};
use crate::proto;
use model::{IdMapping, UserNamespace};

/// A user namespace of the pod's own. As containerd and CRI-O take it: one range of users and one of groups, in which
/// root is.
pub(crate) fn user_namespace(
    field: &Field<'_>,
    message: Option<proto::UserNamespace>,
) -> Result<Option<UserNamespace>, DecodeError> {
    let Some(message) = message else { return Ok(None) };
    let mode = field.child("mode");
    let mapped = !message.uids.is_empty() || !message.gids.is_empty();
    match mode.enumeration(message.mode)? {
        proto::NamespaceMode::Node if mapped => {
            Err(field.invalid("has mappings without a namespace for them"))
        }
        proto::NamespaceMode::Node => Ok(None),
        // An empty message is one that is not there.
        proto::NamespaceMode::Pod if !mapped => Ok(None),
        proto::NamespaceMode::Pod => Ok(Some(UserNamespace {
            uids: mapping(&field.child("uids"), &message.uids)?,
            gids: mapping(&field.child("gids"), &message.gids)?,
        })),
        proto::NamespaceMode::Container | proto::NamespaceMode::Target => {
            Err(mode.invalid("must be POD or NODE"))
        }
    }
}

fn mapping(field: &Field<'_>, messages: &[proto::IdMapping]) -> Result<IdMapping, DecodeError> {
    let [message] = messages else {
        return Err(field.invalid(format!("has {} mappings: exactly one is supported", messages.len())));
    };
    let field = field.item(0);
    if message.container_id != 0 {
        return Err(field.child("container_id").invalid("must be 0: the container's root has to be mapped"));
    }
    if message.length == 0 {
        return Err(field.child("length").missing());
    }
    // The highest id means "none" to the kernel.
    if message.host_id.checked_add(message.length).is_none() {
        return Err(field.child("length").invalid("reaches beyond the largest id"));
    }
    Ok(IdMapping { container_id: message.container_id, host_id: message.host_id, length: message.length })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn decode(mode: proto::NamespaceMode, uids: &[[u32; 3]]) -> Result<Option<UserNamespace>, String> {
        let one = |[container_id, host_id, length]: &[u32; 3]| proto::IdMapping {
            container_id: *container_id,
            host_id: *host_id,
            length: *length,
        };
        let gids = if uids.is_empty() { vec![] } else { vec![one(&[0, 7, 9])] };
        let message = proto::UserNamespace { mode: mode.into(), uids: uids.iter().map(one).collect(), gids };
        user_namespace(&Field::root("users"), Some(message)).map_err(|error| error.to_string())
    }

    #[test]
    fn one_range_with_root_in_it() {
        use proto::NamespaceMode::{Container, Node, Pod};
        let good = decode(Pod, &[[0, 65_536, 65_536]]).unwrap().unwrap();
        assert_eq!((good.uids.host_id, good.uids.length, good.gids.host_id), (65_536, 65_536, 7));
        assert_eq!(decode(Pod, &[]), Ok(None));
        assert_eq!(decode(Node, &[]), Ok(None));
        let table = [
            (Pod, &[[0, 1, 1], [1, 2, 1]][..], "users.uids: "),
            (Pod, &[[1, 65_536, 1]][..], "users.uids[0].container_id: "),
            (Pod, &[[0, 65_536, 0]][..], "users.uids[0].length"),
            (Pod, &[[0, u32::MAX, 2]][..], "users.uids[0].length"),
            (Node, &[[0, 1, 1]][..], "users: "),
            (Container, &[[0, 1, 1]][..], "users.mode: "),
        ];
        for (mode, uids, beginning) in table {
            let error = decode(mode, uids).unwrap_err();
            assert!(error.starts_with(beginning), "{error}");
        }
    }
}
