//! The state of the runtime.

use crate::proto;
use engine::{HandlerInfo, RuntimeStatus, Unfit};

/// The status; `info` only for a verbose request.
pub(crate) fn status(status: RuntimeStatus, verbose: bool) -> proto::StatusResponse {
    let network = status.network;
    let conditions = conditions(status.unfit.as_ref(), network.ready, network.reason, network.message);
    let maps_users = status.handlers.iter().any(|handler| handler.user_namespaces);
    proto::StatusResponse {
        status: Some(proto::RuntimeStatus { conditions }),
        info: if verbose { status.info } else { Default::default() },
        runtime_handlers: status.handlers.into_iter().map(handler).collect(),
        features: Some(proto::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: maps_users,
            mount_options: true,
        }),
    }
}

/// The two conditions without which the kubelet calls a status an error.
pub(super) fn conditions(
    unfit: Option<&Unfit>,
    network: bool,
    reason: String,
    message: String,
) -> Vec<proto::RuntimeCondition> {
    let ready = "RuntimeReady".to_owned();
    let network_ready = "NetworkReady".to_owned();
    vec![
        proto::RuntimeCondition {
            r#type: ready,
            status: unfit.is_none(),
            reason: unfit.map(Unfit::reason).unwrap_or_default().to_owned(),
            message: unfit.map(ToString::to_string).unwrap_or_default(),
        },
        proto::RuntimeCondition { r#type: network_ready, status: network, reason, message },
    ]
}

fn handler(handler: HandlerInfo) -> proto::RuntimeHandler {
    proto::RuntimeHandler {
        name: handler.name,
        features: Some(proto::RuntimeHandlerFeatures {
            recursive_read_only_mounts: handler.recursive_read_only,
            user_namespaces: handler.user_namespaces,
        }),
    }
}
