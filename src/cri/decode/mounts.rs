//! Mounts and devices.

use super::{DecodeError, Field, image, text};
use crate::proto;
use model::{Device, IdMapping, Mount, Propagation};
use std::collections::{BTreeMap, HashSet};

/// What a mount may ask for beyond its other fields: nothing that lifts a protection of the host's mount, and
/// nothing that has a field of its own.
const OPTIONS: [&str; 8] =
    ["noexec", "nodev", "nosuid", "noatime", "nodiratime", "relatime", "strictatime", "nosymfollow"];

/// Annotations by which device plugins ask for CDI devices.
const CDI_ANNOTATION: &str = "cdi.k8s.io/";

/// The mounts of a container, in the order given.
pub(crate) fn mounts(field: &Field<'_>, messages: Vec<proto::Mount>) -> Result<Vec<Mount>, DecodeError> {
    messages.into_iter().enumerate().map(|(index, message)| mount(&field.item(index), message)).collect()
}

fn mount(field: &Field<'_>, message: proto::Mount) -> Result<Mount, DecodeError> {
    let child = |name| field.child(name);
    let container_path = text::absolute(&child("container_path"), message.container_path)?;
    let propagation = match child("propagation").enumeration(message.propagation)? {
        proto::MountPropagation::PropagationPrivate => Propagation::Private,
        proto::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        proto::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    };
    if message.recursive_read_only && !(message.readonly && propagation == Propagation::Private) {
        return Err(child("recursive_read_only").invalid("needs readonly and private propagation"));
    }
    for (index, option) in message.mount_options.iter().enumerate() {
        if !OPTIONS.contains(&option.as_str()) {
            return Err(child("mount_options")
                .item(index)
                .invalid(format!("{option:?} is none of {OPTIONS:?}")));
        }
    }
    let uid_mappings = id_mappings(&child("uidMappings"), &message.uid_mappings)?;
    let gid_mappings = id_mappings(&child("gidMappings"), &message.gid_mappings)?;
    if uid_mappings.is_empty() != gid_mappings.is_empty() {
        let alone = if gid_mappings.is_empty() { "uidMappings" } else { "gidMappings" };
        return Err(child(alone).invalid("needs mappings of both users and groups"));
    }
    let mount = Mount {
        container_path,
        host_path: text::absolute_if_any(&child("host_path"), message.host_path)?,
        readonly: message.readonly,
        recursive_read_only: message.recursive_read_only,
        propagation,
        selinux_relabel: message.selinux_relabel,
        uid_mappings,
        gid_mappings,
        image: message
            .image
            .filter(|image| *image != proto::ImageSpec::default())
            .map(|spec| image::image(&child("image"), Some(spec)))
            .transpose()?,
        image_sub_path: message.image_sub_path,
        options: message.mount_options,
    };
    check_source(field, &mount)?;
    Ok(mount)
}

/// A path of the host or an image, and what goes with each.
fn check_source(field: &Field<'_>, mount: &Mount) -> Result<(), DecodeError> {
    let host = field.child("host_path");
    let sub = field.child("image_sub_path");
    if mount.image.is_none() {
        if mount.host_path.is_none() {
            return Err(host.missing());
        }
        return if mount.image_sub_path.is_empty() {
            Ok(())
        } else {
            Err(sub.invalid("goes only with image"))
        };
    }
    if mount.host_path.is_some() {
        return Err(host.invalid("excludes image"));
    }
    if !mount.readonly {
        return Err(field.child("readonly").invalid("an image can only be mounted read-only"));
    }
    if mount.propagation != Propagation::Private {
        return Err(field.child("propagation").invalid("an image has nothing to propagate"));
    }
    if mount.selinux_relabel {
        return Err(field.child("selinux_relabel").invalid("the files of an image cannot be relabelled"));
    }
    if mount.image_sub_path.starts_with('/') {
        return Err(sub.invalid("must be relative to the image's root"));
    }
    text::inside(&sub, &mount.image_sub_path)
}

/// Ranges of ids, each within the 32 bits that the kernel has.
pub(crate) fn id_mappings(
    field: &Field<'_>,
    messages: &[proto::IdMapping],
) -> Result<Vec<IdMapping>, DecodeError> {
    let decode = |(index, message): (usize, &proto::IdMapping)| {
        let field = field.item(index);
        if message.length == 0 {
            return Err(field.child("length").invalid("is 0"));
        }
        for (name, first) in [("host_id", message.host_id), ("container_id", message.container_id)] {
            if first.checked_add(message.length).is_none() {
                return Err(field.child(name).invalid("and length exceed 32 bits"));
            }
        }
        Ok(IdMapping { host_id: message.host_id, container_id: message.container_id, length: message.length })
    };
    messages.iter().enumerate().map(decode).collect()
}

/// The devices of a container, in the order given. One without a path in the container has the host's.
pub(crate) fn devices(field: &Field<'_>, messages: Vec<proto::Device>) -> Result<Vec<Device>, DecodeError> {
    let decode = |(index, message): (usize, proto::Device)| {
        let field = field.item(index);
        let (host, place) = (field.child("host_path"), field.child("container_path"));
        let host_path = text::absolute(&host, message.host_path)?;
        let container_path =
            text::absolute_if_any(&place, message.container_path)?.unwrap_or_else(|| host_path.clone());
        let permissions = message.permissions;
        let known = permissions.bytes().enumerate().all(|(at, c)| {
            matches!(c, b'r' | b'w' | b'm') && !permissions.bytes().take(at).any(|other| other == c)
        });
        if permissions.is_empty() || !known {
            return Err(field.child("permissions").invalid("must be some of `r`, `w` and `m`"));
        }
        Ok(Device { container_path, host_path, permissions })
    };
    messages.into_iter().enumerate().map(decode).collect()
}

/// CDI devices by name: those of the field, then those of the annotations that device plugins make, each once.
pub(crate) fn cdi_devices(
    field: &Field<'_>,
    messages: Vec<proto::CdiDevice>,
    annotations_field: &Field<'_>,
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<String>, DecodeError> {
    let mut names = Names::default();
    for (index, message) in messages.into_iter().enumerate() {
        names.take(&field.item(index).child("name"), message.name)?;
    }
    for (key, value) in annotations.iter().filter(|(key, _)| key.starts_with(CDI_ANNOTATION)) {
        for name in value.split(',') {
            names.take(&annotations_field.key(key), name.to_owned())?;
        }
    }
    Ok(names.list)
}

/// Names in their order, each once.
#[derive(Default)]
struct Names {
    list: Vec<String>,
    known: HashSet<String>,
}

impl Names {
    fn take(&mut self, field: &Field<'_>, name: String) -> Result<(), DecodeError> {
        if !model::cdi::is_qualified(&name) {
            return Err(field.invalid(format!("{name:?} is not of the form vendor/class=device")));
        }
        if self.known.insert(name.clone()) {
            self.list.push(name);
        }
        Ok(())
    }
}
