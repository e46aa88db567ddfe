//! What others do on the same host: a second daemon, another network on the bridge, somebody who flushes rules.

use super::harness::{Node, eventually};
use super::plugins::{Pod, get, host_interface, on_own_host};
use std::process::Command;
use std::time::Duration;

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn built_in() -> Node {
    let mut node = Node::new();
    node.settings.builtin_network = true;
    node
}

#[test]
fn a_second_daemon_leaves_the_bridge_and_the_pods_of_the_first_alone() {
    on_own_host(|mut first| async move {
        first.settings.builtin_network = true;
        let network = first.open();
        host_interface();
        let pod = Pod::new(&first, "pod", 18_070);
        let attachment = network.attach(&pod.network).await.unwrap();

        let second = built_in();
        let other = second.open();
        eventually("it clashes", || other.status().message.contains("belongs to another daemon")).await;
        let status = other.status();
        assert!(!status.ready && status.message.contains("ip link del corten0"), "{status:?}");
        assert!(status.message.contains("network.conf_dir"), "{status:?}");
        let guest = Pod::new(&second, "guest", 18_071);
        let error = other.attach(&guest.network).await.unwrap_err();
        assert!(error.to_string().contains("belongs to another daemon"), "{error}");
        other.detach(&guest.network, None).await.unwrap();
        other.gc(&[]).await.unwrap();
        network.check(&pod.network, &attachment).await.unwrap();
        drop(network);

        // The first one knows its bridge again.
        let network = first.open();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(network.status().ready, "{:?}", network.status());
        network.detach(&pod.network, Some(&attachment)).await.unwrap();
    });
}

#[test]
fn a_bridge_with_another_address_is_named_with_what_to_do() {
    on_own_host(|mut node| async move {
        node.settings.builtin_network = true;
        node.settings.subnets = vec!["10.99.0.0/16".parse().unwrap()];
        host_interface();
        run("ip", &["link", "add", "corten0", "type", "bridge"]);
        run("ip", &["addr", "add", "192.0.2.1/24", "dev", "corten0"]);
        let network = node.open();
        eventually("it clashes", || network.status().message.contains("has the address 192.0.2.1/24")).await;
        assert!(network.status().message.contains("ip link del corten0"), "{:?}", network.status());
        run("ip", &["link", "del", "corten0"]);
        eventually("as said", || network.status().ready).await;
    });
}

fn bridge_list(bridge: &str, subnet: &str, leases: &std::path::Path) -> String {
    format!(
        r#"{{"cniVersion": "1.1.0", "name": "other", "plugins": [{{"type": "bridge", "bridge": "{bridge}",
        "isGateway": true, "ipam": {{"type": "host-local", "subnet": "{subnet}", "dataDir": {leases:?}}}}}]}}"#
    )
}

#[test]
fn no_second_bridge_gets_the_subnet_of_pods() {
    on_own_host(|mut node| async move {
        node.settings.builtin_network = true;
        node.settings.subnets = vec!["10.99.0.0/16".parse().unwrap()];
        let network = node.open();
        host_interface();
        let old = Pod::new(&node, "old", 0);
        let before = network.attach(&old.network).await.unwrap();
        let leases = node.path("leases");
        let told = |part: &str| network.status().message.contains(part);
        for subnet in ["10.99.0.0/16", "10.99.7.0/24", "10.96.0.0/12"] {
            node.conf("10.conflist", &bridge_list("other0", subnet, &leases));
            let overlap = format!("subnet {subnet} overlaps 10.99.0.1/16 of bridge corten0");
            eventually(subnet, || told(&overlap)).await;
            assert!(
                !network.status().ready && told("(now 1, which it would cut off)"),
                "{:?}",
                network.status()
            );
            let new = Pod::new(&node, "new", 0);
            let error = network.attach(&new.network).await.unwrap_err();
            assert!(error.to_string().contains(&overlap) && !error.leaves_residue(), "{error}");
        }
        node.conf("10.conflist", &bridge_list("other0", "10.98.0.0/16", &leases));
        eventually("beside it", || network.status().ready).await;
        let new = Pod::new(&node, "new", 0);
        let after = network.attach(&new.network).await.unwrap();
        assert!(after.ips[0].to_string().starts_with("10.98."), "{:?}", after.ips);

        // A subnet that changes under pods.
        node.conf("10.conflist", &bridge_list("other0", "10.97.0.0/16", &leases));
        eventually("changed", || {
            told("bridge other0 has the address 10.98.0.1/16 in the way of 10.97.0.1/16")
        })
        .await;
        let message = network.status().message;
        assert!(message.contains("this network had another subnet, or "), "{message}");
        assert!(
            message.contains("once the pods on it are gone (now 1, which it would cut off)"),
            "{message}"
        );
        network.detach(&new.network, Some(&after)).await.unwrap();
        drop(new);
        eventually("nobody is on it", || {
            told("remove bridge other0, which nobody is on: ip link del other0")
        })
        .await;
        network.detach(&old.network, Some(&before)).await.unwrap();
    });
}

/// The node's uplink may be a bridge in a network of which pods have a part.
#[test]
fn a_bridge_that_leads_out_of_the_host_may_have_a_network_around_that_of_pods() {
    on_own_host(|node| async move {
        host_interface();
        run(
            "ip",
            &["link", "add", "out0", "type", "vxlan", "id", "5", "dstport", "4789", "local", "192.0.2.77"],
        );
        run("ip", &["link", "set", "out0", "master", "uplink"]);
        run("ip", &["addr", "add", "10.1.2.3/8", "dev", "uplink"]);
        let leases = node.path("leases");
        node.conf("10.conflist", &bridge_list("other0", "10.98.0.0/16", &leases));
        let network = node.open();
        let pod = Pod::new(&node, "pod", 0);
        let attachment = network.attach(&pod.network).await.unwrap();
        assert!(network.status().ready, "{:?}", network.status());
        network.detach(&pod.network, Some(&attachment)).await.unwrap();
        drop(pod);
        run("ip", &["link", "del", "other0"]);
        node.conf("10.conflist", &bridge_list("other0", "10.0.0.0/8", &leases));
        let taken = "subnet 10.0.0.0/8 overlaps 10.1.2.3/8 of bridge uplink";
        eventually("all of it", || network.status().message.contains(taken)).await;
    });
}

#[test]
fn flushed_rules_are_made_again_for_pods_that_are_there() {
    if Command::new("nft").arg("--version").output().is_err() {
        need::skip(need::Need::Tools, "needs nft");
        return;
    }
    on_own_host(|mut node| async move {
        node.settings.builtin_network = true;
        let network = node.open();
        host_interface();
        let pods = [Pod::new(&node, "stays", 18_060), Pod::new(&node, "goes", 18_061)];
        let mut attachments = Vec::new();
        for pod in &pods {
            attachments.push(network.attach(&pod.network).await.unwrap());
        }
        pods[0].serve(attachments[0].ips[0]);
        drop(network);

        // While the daemon is down, too.
        run("nft", &["flush", "ruleset"]);
        let network = node.open();
        let there: Vec<_> = attachments.iter().cloned().map(std::sync::Arc::new).collect();
        network.keep(move || there.clone());
        let ruleset = || run("nft", &["list", "ruleset"]);
        eventually("made at the start", || ruleset().contains("goes eth0")).await;
        for (pod, attachment) in pods.iter().zip(&attachments) {
            network.check(&pod.network, attachment).await.unwrap();
        }
        network.detach(&pods[1].network, Some(&attachments[1])).await.unwrap();
        run("nft", &["flush", "ruleset"]);
        eventually("made at the next look", || ruleset().contains("stays eth0")).await;
        network.check(&pods[0].network, &attachments[0]).await.unwrap();
        assert_eq!(get("192.0.2.77:18060".parse().unwrap()).unwrap(), "stays");
        assert!(!ruleset().contains("goes eth0"), "its DEL has begun before: {}", ruleset());
        network.detach(&pods[0].network, Some(&attachments[0])).await.unwrap();
    });
}
