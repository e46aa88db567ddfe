//! Bind mounts.

use super::{DecodeError, Field, is_set, text};
use crate::proto;
use model::{Mount, Propagation};

/// The mounts of a container, in the order given.
pub(crate) fn mounts(field: &Field<'_>, messages: Vec<proto::Mount>) -> Result<Vec<Mount>, DecodeError> {
    messages.into_iter().enumerate().map(|(index, message)| mount(&field.item(index), message)).collect()
}

fn mount(field: &Field<'_>, message: proto::Mount) -> Result<Mount, DecodeError> {
    let child = |name| field.child(name);
    child("selinux_relabel").refuse_if(message.selinux_relabel)?;
    child("uidMappings").refuse_if(!message.uid_mappings.is_empty())?;
    child("gidMappings").refuse_if(!message.gid_mappings.is_empty())?;
    child("image").refuse_if(is_set(message.image.as_ref()))?;
    child("image_sub_path").refuse_if(!message.image_sub_path.is_empty())?;
    child("mount_options").refuse_if(!message.mount_options.is_empty())?;
    text::id(&child("container_path"), &message.container_path)?;
    text::absolute(&child("container_path"), &message.container_path)?;
    text::id(&child("host_path"), &message.host_path)?;
    text::absolute(&child("host_path"), &message.host_path)?;
    let propagation = match child("propagation").enumeration(message.propagation)? {
        proto::MountPropagation::PropagationPrivate => Propagation::Private,
        proto::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        proto::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    };
    if message.recursive_read_only && !(message.readonly && propagation == Propagation::Private) {
        return Err(child("recursive_read_only").invalid("needs readonly and private propagation"));
    }
    Ok(Mount {
        container_path: message.container_path,
        host_path: message.host_path,
        readonly: message.readonly,
        recursive_read_only: message.recursive_read_only,
        propagation,
    })
}
