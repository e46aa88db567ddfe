//! What is rejected, by setting.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::*;
use crate::merge::Creation;

const ID: &str = "container";

type Setting = fn(&mut Settings) -> &mut bool;

fn all() -> Settings {
    Settings {
        enable: true,
        oci_hooks: true,
        runtime_default_seccomp: true,
        unconfined_seccomp: true,
        custom_seccomp: true,
        namespaces: true,
        sysctls: true,
        ..Settings::default()
    }
}

fn container(profile: Option<ProfileType>) -> Container {
    let profile = profile.map(|kind| SecurityProfile { profile_type: kind as i32, ..Default::default() });
    let linux = LinuxContainer { seccomp_profile: profile, ..Default::default() };
    Container { id: ID.into(), name: "main".into(), linux: Some(linux), ..Default::default() }
}

/// What validators are asked after a plugin has made an adjustment.
fn request(container: &Container, adjustment: ContainerAdjustment) -> ValidateContainerAdjustmentRequest {
    let create = CreateContainerRequest { container: Some(container.clone()), ..Default::default() };
    let mut creation = Creation::new(create);
    let reply = CreateContainerResponse { adjust: Some(adjustment), ..Default::default() };
    creation.take("10-a", reply).unwrap();
    let made = creation.finish();
    ValidateContainerAdjustmentRequest {
        container: Some(container.clone()),
        adjust: Some(made.adjustment),
        owners: Some(made.owners),
        plugins: vec![PluginInstance { name: "a".into(), index: "10".into() }],
        ..Default::default()
    }
}

fn linux(adjustment: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(adjustment), ..Default::default() }
}

#[test]
fn each_setting_rejects_what_it_names_and_nothing_else() {
    let hooks =
        Hooks { prestart: vec![Hook { path: "/a".into(), ..Default::default() }], ..Default::default() };
    let seccomp =
        linux(LinuxContainerAdjustment { seccomp_policy: Some(Default::default()), ..Default::default() });
    let taken = LinuxNamespace { r#type: "-ipc".into(), ..Default::default() };
    let table: [(Setting, Option<ProfileType>, ContainerAdjustment, &str); 6] = [
        (
            |all| &mut all.oci_hooks,
            None,
            ContainerAdjustment { hooks: Some(hooks), ..Default::default() },
            "OCI hooks of 10-a are not allowed",
        ),
        (
            |all| &mut all.unconfined_seccomp,
            None,
            seccomp.clone(),
            "the seccomp policy of 10-a for an unconfined container is not allowed",
        ),
        (
            |all| &mut all.runtime_default_seccomp,
            Some(ProfileType::RuntimeDefault),
            seccomp.clone(),
            "the seccomp policy of 10-a for a container of the runtime's default profile is not allowed",
        ),
        (
            |all| &mut all.custom_seccomp,
            Some(ProfileType::Localhost),
            seccomp,
            "the seccomp policy of 10-a for a container of a profile of the node is not allowed",
        ),
        (
            |all| &mut all.namespaces,
            None,
            linux(LinuxContainerAdjustment { namespaces: vec![taken], ..Default::default() }),
            "changes of namespaces are not allowed: ipc by 10-a",
        ),
        (
            |all| &mut all.sysctls,
            None,
            linux(LinuxContainerAdjustment {
                sysctl: [("net.a".into(), "1".into())].into(),
                ..Default::default()
            }),
            "changes of kernel parameters are not allowed: net.a by 10-a",
        ),
    ];
    for (setting, profile, adjustment, words) in table {
        let request = request(&container(profile), adjustment);
        assert_eq!(check(&all(), &request), Err(words.to_owned()));
        let mut others = all();
        *setting(&mut others) = false;
        assert_eq!(check(&others, &request), Ok(()), "{words}");
        let off = Settings { enable: false, ..all() };
        assert_eq!(check(&off, &request), Ok(()), "{words}");
    }
}

#[test]
fn required_plugins_are_there_or_their_absence_is_tolerated() {
    let check = |required: &[&str], annotations: &[(&str, &str)]| {
        let settings = Settings {
            enable: true,
            required_plugins: required.iter().map(|name| (*name).to_owned()).collect(),
            tolerate_missing_plugins_annotation: "tolerate".into(),
            ..Settings::default()
        };
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let pod = PodSandbox { annotations: annotations.collect(), ..Default::default() };
        let request = request(&container(None), ContainerAdjustment::default());
        super::check(&settings, &ValidateContainerAdjustmentRequest { pod: Some(pod), ..request })
    };
    let missing = |words: &str| Err(words.to_owned());
    assert_eq!(check(&["a", "10-a"], &[]), Ok(()));
    assert_eq!(check(&["b"], &[]), missing("the required NRI plugin b is not connected"));
    assert_eq!(
        check(&["b", "a", "11-a"], &[]),
        missing("the required NRI plugins b, 11-a are not connected")
    );
    assert_eq!(check(&["b"], &[("tolerate", "true")]), Ok(()));
    assert_eq!(check(&["b"], &[("tolerate/container.main", "t"), ("tolerate", "false")]), Ok(()));
    assert!(check(&["b"], &[("tolerate/container.other", "true")]).is_err());
    let error = check(&["b"], &[("tolerate/pod", "perhaps")]).unwrap_err();
    assert_eq!(error, r#"annotation tolerate: "perhaps" is neither true nor false"#);
    assert_eq!(check(&[], &[(REQUIRED, "[a]")]), Ok(()));
    assert_eq!(
        check(&[], &[(REQUIRED, "- c\n- a\n")]),
        missing("the required NRI plugin c is not connected")
    );
    assert_eq!(check(&[], &[("required-plugins.noderesource.dev/container.other", "[c]")]), Ok(()));
    assert!(check(&[], &[(REQUIRED, "{c: d}")]).unwrap_err().contains("is no list of names"));
}
