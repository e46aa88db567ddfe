//! Containers.

use super::resources::resources;
use crate::{proto, signals};
use engine::{ContainerView, UserView};
use image::Reference;
use model::{AbsPath, ContainerMetadata, ContainerState, IdMapping, ImageSpec, Mount, Propagation};

/// A container in a list.
pub(crate) fn listed(view: &ContainerView) -> proto::Container {
    proto::Container {
        id: view.id.to_string(),
        pod_sandbox_id: view.sandbox_id.to_string(),
        metadata: Some(metadata(&view.config.metadata)),
        image: Some(image(&view.config.image)),
        image_ref: view.image_ref.clone(),
        state: state(&view.state).into(),
        created_at: view.created_at,
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        image_id: view.image_id.clone(),
    }
}

/// The status of a container.
pub(crate) fn status(view: &ContainerView) -> proto::ContainerStatus {
    let (started_at, exit) = match &view.state {
        ContainerState::Created => (0, None),
        ContainerState::Running { started_at } => (*started_at, None),
        ContainerState::Exited { started_at, exit } => (*started_at, Some(exit)),
    };
    proto::ContainerStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.config.metadata)),
        state: state(&view.state).into(),
        created_at: view.created_at,
        started_at,
        finished_at: exit.map_or(0, |exit| exit.finished_at),
        exit_code: exit.map_or(0, |exit| exit.code),
        image: Some(shown(&view.config.image)),
        image_ref: view.image_ref.clone(),
        reason: exit.map(|exit| exit.reason.clone()).unwrap_or_default(),
        message: exit.map(|exit| exit.message.clone()).unwrap_or_default(),
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        mounts: view
            .config
            .mounts
            .iter()
            .enumerate()
            .map(|(index, mounted)| mount(view, index, mounted))
            .collect(),
        log_path: view.log_path.clone(),
        resources: Some(proto::ContainerResources { linux: Some(resources(&view.resources)), windows: None }),
        image_id: view.image_id.clone(),
        user: Some(user(&view.user)),
        stop_signal: signals::from_number(view.stop_signal).into(),
    }
}

pub(super) fn metadata(metadata: &ContainerMetadata) -> proto::ContainerMetadata {
    proto::ContainerMetadata { name: metadata.name.clone(), attempt: metadata.attempt }
}

fn image(spec: &ImageSpec) -> proto::ImageSpec {
    proto::ImageSpec {
        image: spec.image.clone(),
        annotations: spec.annotations.clone(),
        user_specified_image: spec.user_specified_image.clone(),
        runtime_handler: spec.runtime_handler.clone(),
        image_ref: String::new(),
    }
}

/// As a status shows it, and pods' statuses and dashboards with it: by the name that a person wrote, where the request's image is
/// the id that the kubelet has found for it.
fn shown(spec: &ImageSpec) -> proto::ImageSpec {
    let mut shown = image(spec);
    if let Ok(name) = Reference::parse(&spec.user_specified_image) {
        shown.image = name.to_string();
    }
    shown
}

fn state(state: &ContainerState) -> proto::ContainerState {
    match state {
        ContainerState::Created => proto::ContainerState::ContainerCreated,
        ContainerState::Running { .. } => proto::ContainerState::ContainerRunning,
        ContainerState::Exited { .. } => proto::ContainerState::ContainerExited,
    }
}

/// As it was asked for; an image with what it resolved to.
fn mount(view: &ContainerView, index: usize, mount: &Mount) -> proto::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => proto::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => proto::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => proto::MountPropagation::PropagationBidirectional,
    };
    proto::Mount {
        container_path: mount.container_path.to_string(),
        host_path: mount.host_path.as_ref().map(AbsPath::to_string).unwrap_or_default(),
        readonly: mount.readonly,
        propagation: propagation.into(),
        selinux_relabel: mount.selinux_relabel,
        uid_mappings: mount.uid_mappings.iter().map(id_mapping).collect(),
        gid_mappings: mount.gid_mappings.iter().map(id_mapping).collect(),
        recursive_read_only: mount.recursive_read_only,
        image: mount.image.as_ref().map(|spec| proto::ImageSpec {
            image_ref: view.image_volumes.get(&index).cloned().unwrap_or_default(),
            ..image(spec)
        }),
        image_sub_path: mount.image_sub_path.clone(),
        mount_options: mount.options.clone(),
    }
}

fn id_mapping(range: &IdMapping) -> proto::IdMapping {
    proto::IdMapping { host_id: range.host_id, container_id: range.container_id, length: range.length }
}

fn user(user: &UserView) -> proto::ContainerUser {
    proto::ContainerUser {
        linux: Some(proto::LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: user.groups.iter().map(|gid| i64::from(*gid)).collect(),
        }),
    }
}
