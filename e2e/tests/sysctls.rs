//! Kernel parameters of pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pods::shell;
use e2e::proto::PodSandboxConfig;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;

fn with(mut pod: PodSandboxConfig, sysctls: &[(&str, &str)]) -> PodSandboxConfig {
    pod.linux.get_or_insert_default().sysctls =
        sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pod
}

#[test]
fn parameters_are_there_when_the_network_is_and_have_defaults() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let asked = [
            ("net.ipv4.conf.eth0.arp_filter", "1"),
            ("net.ipv4.conf.all.rp_filter", "2"),
            ("net.ipv6.conf.all.disable_ipv6", "1"),
            ("net.ipv4.ip_unprivileged_port_start", "80"),
            ("kernel.shm_rmid_forced", "1"),
        ];
        // Of an interface that is being made meanwhile: now and then is not enough.
        let mut pods = tokio::task::JoinSet::new();
        for number in 0..24 {
            let config = with(world.pod(&format!("pod-{number}")).unwrap(), &asked);
            let cri = cri.clone();
            pods.spawn(async move { (cri.run_pod(&config).await, config) });
        }
        let pods = pods.join_all().await;
        let mut names: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
        names.push("net.ipv4.ping_group_range");
        let script = names.iter().map(|name| format!("cat /proc/sys/{};", name.replace('.', "/")));
        let script = script.collect::<String>() + "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        for (pod, config) in pods {
            let pod = pod.unwrap();
            let id = cri.create(&pod, &shell("main", BUSYBOX, &script), &config).await.unwrap();
            cri.start(&id).await.unwrap();
            let status = wait_exited(&cri, &id, Duration::from_secs(60)).await.unwrap();
            let log = std::fs::read_to_string(&status.log_path).unwrap();
            let said: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
            assert_eq!(said, ["1", "2", "1", "80", "1", "0\t2147483647", "1"], "{log}");
            cri.end_pod(&pod).await.unwrap();
        }

        for (name, value, problem) in [
            ("net.ipv4.conf.eth7.arp_filter", "1", "this kernel has none"),
            ("fs.mqueue.no_such", "1", "this kernel has none"),
            ("net.ipv4.ip_forward", "many", "the kernel does not take \"many\""),
            ("kernel.sem", "x", "the kernel does not take \"x\""),
            ("kernel.msgmax", "-1", "the kernel does not take \"-1\""),
        ] {
            let config = with(world.pod("refused").unwrap(), &[(name, value)]);
            let error = cri.run_pod(&config).await.unwrap_err().to_string();
            let expected = format!("config.linux.sysctls[\"{name}\"]: {problem}");
            assert!(error.contains(&expected) && error.to_lowercase().contains("invalid"), "{error}");
        }
        assert!(cri.pods().await.unwrap().is_empty(), "a refused pod is left");

        // Nobody in particular may have port 80 of a pod that says nothing.
        let config = world.pod("plain").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let mut server = shell("main", BUSYBOX, "nc -l -p 80 & sleep 1; kill $! && echo listened");
        let security = server.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.run_as_user = Some(e2e::proto::Int64Value { value: 1000 });
        let id = cri.create(&pod, &server, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(60)).await.unwrap();
        let log = std::fs::read_to_string(&status.log_path).unwrap();
        assert!(log.contains("listened"), "{log}");
        cri.end_pod(&pod).await.unwrap();
    });
}
