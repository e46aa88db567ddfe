//! Pods with a user namespace by an OCI runtime.

use super::*;

fn ids() -> Vec<IdMapping> {
    vec![IdMapping { host_id: FIRST, container_id: 0, length: 0x1_0000 }]
}

fn with_users(mut config: PodSandboxConfig) -> PodSandboxConfig {
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    let users = UserNamespace { mode: NamespaceMode::Pod.into(), uids: ids(), gids: ids() };
    security.namespace_options.get_or_insert_default().userns_options = Some(users);
    config
}

/// The reason where pods cannot have user namespaces here whatever runs them.
fn cannot_map(error: &Error) -> bool {
    let text = error.to_string();
    let host = text.contains("user namespaces do not work on this host");
    if host {
        need::skip(need::Need::Kernel, &text);
    }
    host
}

/// A pod with a user namespace under the handler, and in it a container that has run to its end: its log. `None` where the
/// host has none to give.
fn mapped(world: &World, name: &str, script: &str, mounts: Vec<Mount>) -> Option<Result<String, Error>> {
    let config = with_users(world.pod(name).unwrap());
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = match cri.run_pod_by(&config, "other").await {
            Err(error) if cannot_map(&error) => return None,
            pod => pod.unwrap(),
        };
        let mut main = shell("main", BUSYBOX, script);
        main.mounts = mounts;
        let created = cri.create(&pod, &main, &config).await;
        let log = async {
            let id = created?;
            cri.start(&id).await?;
            let status = wait_exited(&cri, &id, SOON).await?;
            Ok(std::fs::read_to_string(&status.log_path).unwrap_or_default())
        };
        let log = log.await;
        cri.end_pod(&pod).await.unwrap();
        Some(log)
    })
}

fn words(log: &str) -> Vec<&str> {
    log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect()
}

const SEES: &str = "cat /proc/self/uid_map; stat -c %u /bin/busybox /etc/hosts /dev/shm; \
    cat /sys/class/net/eth0/operstate; touch /made && stat -c %u /made; stat -c %u /proc/self/fd/1";

fn sees_its_own(log: &str) {
    let words = words(log);
    assert_eq!(words[0].split_whitespace().collect::<Vec<_>>(), ["0", "3211264", "65536"], "{log}");
    assert_eq!(words[1..7], ["0", "0", "0", "up", "0", "0"], "{log}");
}

#[test]
fn corten_oci_runs_pods_with_user_namespaces_and_their_volumes() {
    let Some(world) = world(&tools::corten("corten-oci").unwrap().display().to_string()) else { return };
    let volume = world.logs.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mount = Mount {
        container_path: "/volume".to_owned(),
        host_path: volume.display().to_string(),
        uid_mappings: ids(),
        gid_mappings: ids(),
        ..Mount::default()
    };
    let script = format!("{SEES}; stat -c %u /volume; touch /volume/made");
    let Some(log) = mapped(&world, "users", &script, vec![mount]) else { return };
    let log = log.unwrap();
    sees_its_own(&log);
    assert_eq!(words(&log)[7..], ["0"], "{log}");
    assert_eq!(std::fs::metadata(volume.join("made")).unwrap().uid(), 0, "the volume is not idmapped");
}

#[test]
fn a_runtime_without_idmapped_mounts_is_asked_for_none() {
    // Debian's runc declares user namespaces and no idmapped mounts.
    let Some(world) = world(&debian("runc")) else { return };
    let Some(log) = mapped(&world, "users", SEES, Vec::new()) else { return };
    sees_its_own(&log.unwrap());
    let mount = Mount {
        container_path: "/volume".to_owned(),
        host_path: "/tmp".to_owned(),
        uid_mappings: ids(),
        gid_mappings: ids(),
        ..Mount::default()
    };
    let refused = mapped(&world, "volume", "true", vec![mount]).unwrap().unwrap_err().to_string();
    assert!(refused.contains("uidMappings") && refused.contains("handler other"), "{refused}");
}

#[test]
fn a_runtime_without_user_namespaces_is_refused_by_name() {
    // It declares nothing.
    let Some(world) = world("/bin/true") else { return };
    let config = with_users(world.pod("users").unwrap());
    let refused = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.run_pod_by(&config, "other").await.unwrap_err()
    });
    let text = refused.to_string();
    assert!(
        text.contains("userns_options") && text.contains("handler other has no user namespaces"),
        "{text}"
    );
}
