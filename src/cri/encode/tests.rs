//! Views as the kubelet sees them.

#![allow(clippy::unwrap_used)]

use super::{container, runtime, sandbox};
use crate::proto;
use engine::{ContainerView, PodView, UserView};
use model::{
    AbsPath, ContainerConfig, ContainerState, Exit, Mount, Propagation, SandboxConfig, SandboxState,
};
use std::sync::Arc;

pub(crate) fn view(state: ContainerState) -> ContainerView {
    let config = ContainerConfig {
        mounts: vec![
            Mount {
                container_path: AbsPath::new("/dev/termination-log").unwrap(),
                host_path: AbsPath::new("/var/lib/kubelet/x").ok(),
                readonly: true,
                recursive_read_only: true,
                propagation: Propagation::HostToContainer,
                selinux_relabel: true,
                uid_mappings: vec![model::IdMapping { host_id: 1000, container_id: 0, length: 10 }],
                gid_mappings: vec![model::IdMapping { host_id: 2000, container_id: 1, length: 11 }],
                options: vec!["noexec".into()],
                ..Mount::default()
            },
            Mount {
                container_path: AbsPath::new("/tools").unwrap(),
                readonly: true,
                image: Some(model::ImageSpec { image: "tools:1".into(), ..model::ImageSpec::default() }),
                image_sub_path: "bin".into(),
                ..Mount::default()
            },
        ],
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..ContainerConfig::default()
    };
    ContainerView {
        id: model::ContainerId::new("c"),
        sandbox_id: model::SandboxId::new("s"),
        resources: config.resources.clone(),
        config: Arc::new(config),
        state,
        created_at: 1,
        image_id: "sha256:1".into(),
        image_ref: "r@sha256:2".into(),
        image_volumes: [(1, "tools@sha256:3".to_owned())].into(),
        log_path: "/var/log/pods/c/0.log".into(),
        user: UserView { uid: 1, gid: 2, groups: vec![3, 4] },
        pid: None,
        stop_signal: model::Signal::TERM,
    }
}

#[test]
fn each_state_has_its_times() {
    let status = container::status(&view(ContainerState::Created));
    assert_eq!(
        (status.state(), status.started_at, status.finished_at),
        (proto::ContainerState::ContainerCreated, 0, 0)
    );
    let status = container::status(&view(ContainerState::Running { started_at: 2 }));
    assert_eq!(
        (status.state(), status.started_at, status.finished_at),
        (proto::ContainerState::ContainerRunning, 2, 0)
    );
    let exit = Exit {
        code: 137,
        signal: Some(9),
        oom_killed: true,
        finished_at: 3,
        reason: "OOMKilled".into(),
        message: "m".into(),
    };
    let status = container::status(&view(ContainerState::Exited { started_at: 2, exit }));
    assert_eq!(
        (status.state(), status.started_at, status.finished_at),
        (proto::ContainerState::ContainerExited, 2, 3)
    );
    assert_eq!((status.exit_code, status.reason.as_str(), status.message.as_str()), (137, "OOMKilled", "m"));
}

#[test]
fn what_was_asked_for_is_echoed() {
    let status = container::status(&view(ContainerState::Created));
    let mount = &status.mounts[0];
    assert_eq!(
        (mount.container_path.as_str(), mount.host_path.as_str()),
        ("/dev/termination-log", "/var/lib/kubelet/x")
    );
    assert!(mount.readonly && mount.recursive_read_only && mount.selinux_relabel);
    assert_eq!(mount.propagation(), proto::MountPropagation::PropagationHostToContainer);
    assert_eq!(mount.mount_options, ["noexec"]);
    let ids = [&mount.uid_mappings[0], &mount.gid_mappings[0]];
    assert_eq!(ids.map(|ids| (ids.host_id, ids.container_id, ids.length)), [(1000, 0, 10), (2000, 1, 11)]);
    let tools = &status.mounts[1];
    assert_eq!((tools.host_path.as_str(), tools.image_sub_path.as_str()), ("", "bin"));
    let image = tools.image.clone().unwrap();
    assert_eq!((image.image.as_str(), image.image_ref.as_str()), ("tools:1", "tools@sha256:3"));
    assert_eq!(status.labels["a"], "b");
    assert_eq!((status.image_id.as_str(), status.image_ref.as_str()), ("sha256:1", "r@sha256:2"));
    assert_eq!(status.stop_signal(), proto::Signal::Sigterm);
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (1, 2, vec![3, 4]));
    assert!(status.resources.unwrap().linux.is_some());
}

#[test]
fn a_status_shows_the_image_by_the_name_that_a_person_wrote() {
    let shown = |image: &str, name: &str| {
        let mut view = view(ContainerState::Created);
        let config = Arc::make_mut(&mut view.config);
        config.image = model::ImageSpec {
            image: image.into(),
            user_specified_image: name.into(),
            ..model::ImageSpec::default()
        };
        assert_eq!(container::listed(&view).image.unwrap().image, image);
        container::status(&view).image.unwrap().image
    };
    let id = format!("sha256:{}", "1".repeat(64));
    assert_eq!(shown(&id, "r.test/app:1"), "r.test/app:1");
    assert_eq!(shown(&id, "busybox"), "docker.io/library/busybox:latest");
    assert_eq!(shown(&id, &format!("r.test/app:1@{id}")), format!("r.test/app@{id}"));
    assert_eq!(shown(&id, ""), id);
    assert_eq!(shown("r.test/app:1", ""), "r.test/app:1");
}

#[test]
fn a_pods_first_address_is_the_main_one() {
    let pod = PodView {
        id: model::SandboxId::new("s"),
        config: Arc::new(SandboxConfig::default()),
        state: SandboxState::Ready,
        created_at: 1,
        ips: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        handler: String::new(),
    };
    let status = sandbox::status(&pod);
    let network = status.network.clone().unwrap();
    assert_eq!((network.ip.as_str(), network.additional_ips[0].ip.as_str()), ("10.0.0.2", "fd00::2"));
    assert_eq!(status.state(), proto::PodSandboxState::SandboxReady);
    assert!(status.linux.unwrap().namespaces.unwrap().options.is_some());
}

#[test]
fn both_conditions_are_always_there() {
    let conditions = runtime::conditions(None, false, "NoConfig".into(), "none".into());
    let seen: Vec<_> = conditions.iter().map(|c| (c.r#type.as_str(), c.status, c.reason.as_str())).collect();
    assert_eq!(seen, [("RuntimeReady", true, ""), ("NetworkReady", false, "NoConfig")]);
}

#[test]
fn a_host_that_cannot_run_pods_is_not_ready_and_says_what_to_do() {
    let conditions = runtime::conditions(Some(&engine::Unfit::NoOverlay), true, String::new(), String::new());
    let ready = &conditions[0];
    assert_eq!((ready.r#type.as_str(), ready.status), ("RuntimeReady", false));
    assert_eq!(ready.reason, "OverlayUnusable");
    assert!(ready.message.contains("modprobe overlay"), "{}", ready.message);
}
