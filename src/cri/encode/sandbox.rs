//! Sandboxes.

use crate::proto;
use engine::PodView;
use model::{IdMapping, NamespaceMode, NamespaceOptions, SandboxMetadata, SandboxState, UserNamespace};

/// A sandbox in a list.
pub(crate) fn listed(view: &PodView) -> proto::PodSandbox {
    proto::PodSandbox {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.config.metadata)),
        state: state(view.state).into(),
        created_at: view.created_at,
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        runtime_handler: view.handler.clone(),
    }
}

/// The status of a sandbox.
pub(crate) fn status(view: &PodView) -> proto::PodSandboxStatus {
    let namespaces = &view.config.linux.security.namespaces;
    proto::PodSandboxStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(&view.config.metadata)),
        state: state(view.state).into(),
        created_at: view.created_at,
        network: Some(network(view)),
        linux: Some(proto::LinuxPodSandboxStatus {
            namespaces: Some(proto::Namespace { options: Some(namespace_options(namespaces)) }),
        }),
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        runtime_handler: view.handler.clone(),
    }
}

pub(super) fn metadata(metadata: &SandboxMetadata) -> proto::PodSandboxMetadata {
    proto::PodSandboxMetadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        attempt: metadata.attempt,
    }
}

fn state(state: SandboxState) -> proto::PodSandboxState {
    match state {
        SandboxState::Ready => proto::PodSandboxState::SandboxReady,
        SandboxState::Creating | SandboxState::NotReady => proto::PodSandboxState::SandboxNotready,
    }
}

fn network(view: &PodView) -> proto::PodSandboxNetworkStatus {
    let mut ips = view.ips.iter().map(ToString::to_string);
    proto::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| proto::PodIp { ip }).collect(),
    }
}

fn namespace_options(options: &NamespaceOptions) -> proto::NamespaceOption {
    let mode = |mode| match mode {
        NamespaceMode::Pod => proto::NamespaceMode::Pod.into(),
        NamespaceMode::Container => proto::NamespaceMode::Container.into(),
        NamespaceMode::Node => proto::NamespaceMode::Node.into(),
        NamespaceMode::Target => proto::NamespaceMode::Target.into(),
    };
    proto::NamespaceOption {
        network: mode(options.network),
        pid: mode(options.pid),
        ipc: mode(options.ipc),
        target_id: options.target_id.clone().unwrap_or_default(),
        userns_options: options.users.as_ref().map(user_namespace),
    }
}

fn user_namespace(users: &UserNamespace) -> proto::UserNamespace {
    let one = |map: &IdMapping| proto::IdMapping {
        host_id: map.host_id,
        container_id: map.container_id,
        length: map.length,
    };
    proto::UserNamespace {
        mode: proto::NamespaceMode::Pod.into(),
        uids: vec![one(&users.uids)],
        gids: vec![one(&users.gids)],
    }
}
