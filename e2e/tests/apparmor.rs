//! Which AppArmor profile confines what runs, seen from inside; on hosts whose kernel has AppArmor on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pods::{self, container};
use e2e::proto::{
    ContainerConfig, LinuxContainerSecurityContext, SecurityProfile, security_profile::ProfileType,
};
use e2e::world::{BUSYBOX, World};
use e2e::{command, tools};
use std::process::Command;
use std::time::Duration;

const OWN: &str = "corten-e2e-deny-x";

fn secured(name: &str, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> ContainerConfig {
    pods::secured(container(name, BUSYBOX, &["/bin/sleep", "1000"]), change)
}

fn profile(kind: ProfileType, name: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
}

/// Loads or unloads a profile of the test's own, under which one file cannot be made.
fn parser(verb: &str, directory: &std::path::Path) {
    let policy = directory.join("profile");
    let text =
        format!("profile {OWN} flags=(attach_disconnected) {{\n  file,\n  signal,\n  deny /x w,\n}}\n");
    std::fs::write(&policy, text).unwrap();
    let mut parser = Command::new(tools::system("apparmor_parser").unwrap());
    parser.args([verb, "--skip-cache", "--quiet"]).arg(&policy);
    command::run(&mut parser, Duration::from_secs(120)).unwrap();
}

#[test]
fn containers_and_their_commands_are_confined_as_asked() {
    let enabled = "/sys/module/apparmor/parameters/enabled";
    if !std::fs::read_to_string(enabled).is_ok_and(|text| text.starts_with('Y')) {
        need::skip(need::Need::Kernel, &format!("{enabled} is not Y"));
        return;
    }
    let Some(world) = World::new().unwrap() else { return };
    let directory = world.isolation.directory("apparmor").unwrap();
    parser("--replace", &directory);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("confined").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let cases = [
            (secured("silent", |_| {}), "corten-default (enforce)"),
            (
                secured("default", |security| security.apparmor = profile(ProfileType::RuntimeDefault, "")),
                "corten-default (enforce)",
            ),
            (
                secured("unconfined", |security| security.apparmor = profile(ProfileType::Unconfined, "")),
                "unconfined",
            ),
            (
                secured("own", |security| security.apparmor = profile(ProfileType::Localhost, OWN)),
                "corten-e2e-deny-x (enforce)",
            ),
        ];
        for (container, expected) in cases {
            let name = container.metadata.as_ref().unwrap().name.clone();
            let id = cri.create(&pod, &container, &config).await.unwrap();
            cri.start(&id).await.unwrap();
            let pid = cri.container_info(&id).await.unwrap()["pid"].as_i64().unwrap();
            let label = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
            assert_eq!(label.trim(), expected, "the first process of {name}");
            let script = "cat /proc/self/attr/current; (echo x > /x) 2> /dev/null && echo made; true";
            let told = cri.shell(&id, script).await;
            let made = if name == "own" { "" } else { "\nmade" };
            assert_eq!(told.unwrap().trim(), format!("{expected}{made}"), "a command in {name}");
        }
        let unknown =
            secured("unknown", |security| security.apparmor = profile(ProfileType::Localhost, "not-there"));
        let error = cri.create(&pod, &unknown, &config).await.unwrap_err().to_string();
        assert!(error.contains("is not loaded on this host"), "{error}");
        cri.end_pod(&pod).await.unwrap();
    });
    parser("--remove", &directory);
}
