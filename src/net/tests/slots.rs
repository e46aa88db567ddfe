//! Network namespaces that wait for a pod, on the real kernel.

use super::harness::{Node, eventually, pod};
use super::plugins::{get, host_interface, on_own_host};
use crate::{Attachment, Network, PodNetwork, Slot};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use sys::netns;

/// Names of ports that wait.
fn waiting() -> Vec<String> {
    let output = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let waiting = text.lines().filter(|line| line.contains(cni::READY));
    waiting.map(|line| line.split([' ', '@']).nth(1).unwrap().to_owned()).collect()
}

async fn taken(network: &Network) -> Slot {
    // Whoever asks in vain wants more of them.
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        if let Some(slot) = network.take_slot() {
            return slot;
        }
    }
    panic!("none waits")
}

/// Attaches a pod by what waited, and lets it answer once.
async fn attached(node: &Node, network: &Arc<Network>, slot: Slot) -> (PodNetwork, Attachment) {
    let id = slot.id().to_string();
    let pod = PodNetwork { netns: node.path(&format!("ns-{id}")), ..pod(&id) };
    let namespace = network.create_namespace(&pod.netns, Some(slot)).unwrap();
    let bound = namespace.run_in(|| TcpListener::bind(("::", 80))).unwrap().unwrap();
    let attachment = network.attach_open(&pod, namespace).await.unwrap();
    let listener = bound.unwrap();
    let said = id.clone();
    let answers = std::thread::spawn(move || {
        std::io::Write::write_all(&mut listener.accept().unwrap().0, said.as_bytes()).unwrap();
    });
    assert_eq!(get((attachment.ips[0], 80).into()).unwrap(), id);
    answers.join().unwrap();
    network.check(&pod, &attachment).await.unwrap();
    (pod, attachment)
}

#[test]
fn pods_get_what_waits_with_its_interface_and_nothing_is_left() {
    on_own_host(|mut node| async move {
        node.settings.builtin_network = true;
        host_interface();
        let network = node.open();
        let (one, other) = (taken(&network).await, taken(&network).await);
        assert_ne!(one.id(), other.id());
        assert_eq!(waiting(), [""; 0], "nobody has used the bridge");
        network.give_back(other);
        let first = attached(&node, &network, one).await;
        eventually("two wait, with interfaces", || waiting().len() == 2).await;
        let second = attached(&node, &network, taken(&network).await).await;
        eventually("two wait again", || waiting().len() == 2).await;
        let mut few = node.settings.clone();
        few.warm_namespaces = 1;
        network.reconfigure(&few);
        eventually("one waits", || waiting().len() == 1).await;
        few.warm_namespaces = 0;
        network.reconfigure(&few);
        eventually("none waits", || waiting().is_empty()).await;
        assert!(network.take_slot().is_none());
        network.reconfigure(&node.settings);
        eventually("two wait as ever", || waiting().len() == 2).await;
        for (pod, attachment) in [&first, &second] {
            network.detach(pod, Some(attachment)).await.unwrap();
            netns::remove(&pod.netns).unwrap();
        }
        drop(network);
        eventually("they end with the daemon", || waiting().is_empty()).await;
    });
}

#[test]
fn what_waits_for_a_pod_of_another_network_is_given_to_none() {
    on_own_host(|node| async move {
        host_interface();
        let conf = |name: &str, subnet: u8| {
            let text = format!(
                r#"{{"name": "{name}", "cniVersion": "1.0.0", "plugins": [{{"type": "bridge", "bridge": "br-{name}",
                "isGateway": true, "ipam": {{"type": "host-local", "dataDir": "{}",
                "ranges": [[{{"subnet": "10.9.{subnet}.0/24"}}]]}}}}]}}"#,
                node.path("leases").display(),
            );
            node.conf("10-net.conflist", &text);
        };
        conf("one", 1);
        let network = node.open();
        let (pod, attachment) = attached(&node, &network, taken(&network).await).await;
        eventually("two wait", || waiting().len() == 2).await;
        let former = waiting();
        conf("two", 2);
        eventually("the other is in force", || network.loaded_name() == "two").await;
        let (other, there) = attached(&node, &network, taken(&network).await).await;
        assert!(there.ips[0].to_string().starts_with("10.9.2."), "{:?}", there.ips);
        eventually("the former are gone", || waiting().iter().all(|port| !former.contains(port))).await;
        eventually("others wait", || waiting().len() == 2).await;
        for (pod, attachment) in [(pod, attachment), (other, there)] {
            network.detach(&pod, Some(&attachment)).await.unwrap();
            netns::remove(&pod.netns).unwrap();
        }
    });
}
