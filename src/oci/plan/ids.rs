//! Ids of user namespaces.

use model::{IdMapping, UserNamespace};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use wire::plan::{IdMap, IdMaps};

/// Those of a pod's namespace.
#[must_use]
pub fn of_pod(users: Option<&UserNamespace>) -> IdMaps {
    let one =
        |map: IdMapping| vec![IdMap { inside: map.container_id, outside: map.host_id, count: map.length }];
    users.map_or_else(IdMaps::default, |users| IdMaps { uids: one(users.uids), gids: one(users.gids) })
}

/// Those of a spec with a user namespace.
#[must_use]
pub fn of_spec(spec: &Spec) -> IdMaps {
    let Some(linux) = spec.linux() else { return IdMaps::default() };
    let is_user = |namespace: &oci_spec::runtime::LinuxNamespace| namespace.typ() == LinuxNamespaceType::User;
    if !linux.namespaces().iter().flatten().any(is_user) {
        return IdMaps::default();
    }
    IdMaps { uids: of_list(linux.uid_mappings().as_ref()), gids: of_list(linux.gid_mappings().as_ref()) }
}

/// A list of the spec.
pub(super) fn of_list(list: Option<&Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    let one = |map: &LinuxIdMapping| IdMap {
        inside: map.container_id(),
        outside: map.host_id(),
        count: map.size(),
    };
    list.into_iter().flatten().map(one).collect()
}
