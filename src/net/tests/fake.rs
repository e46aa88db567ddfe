//! The network that tests of other crates have: it does what a network does, and what it is told.

use super::harness::{eventually, pod};
use crate::{Command, FakeHost, Network, PodNetwork};

use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_and_go_without_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let host = FakeHost::default();
    let network = Network::fake(dir.path(), &host).unwrap();
    assert!(network.status().ready, "{:?}", network.status());
    let pod = PodNetwork { netns: dir.path().join("ns"), ..pod("c1") };
    let netns = network.create_namespace(&pod.netns, None).unwrap();
    network.create_namespace(&pod.netns, None).unwrap_err();
    let attachment = network.attach_open(&pod, netns.clone()).await.unwrap();
    assert_eq!(host.attached().get("c1"), attachment.ips.first());
    network.check(&pod, &attachment).await.unwrap();
    assert_eq!(netns.run_in(|| panic!("it is none")).unwrap(), None::<()>);

    host.fail(Command::Del, "no way");
    let error = network.detach(&pod, Some(&attachment)).await.unwrap_err();
    assert!(error.to_string().contains("no way"), "{error}");
    host.mend(Command::Del);
    network.detach(&pod, Some(&attachment)).await.unwrap();
    assert!(host.attached().is_empty());
    network.remove_namespace(&pod.netns).unwrap();
    assert!(!pod.netns.exists());
    let of_pod = host.calls().into_iter().filter(|(_, id)| id == "c1").map(|(command, _)| command);
    assert_eq!(of_pod.collect::<Vec<_>>(), [Command::Add, Command::Check, Command::Del, Command::Del]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attach_fails_and_waits_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let host = FakeHost::default();
    let network = Network::fake(dir.path(), &host).unwrap();
    let pod = PodNetwork { netns: dir.path().join("ns"), ..pod("c1") };
    let netns = network.create_namespace(&pod.netns, None).unwrap();
    host.fail(Command::Add, "no lease");
    let error = network.attach_open(&pod, netns.clone()).await.unwrap_err();
    assert!(error.to_string().contains("no lease") && !error.leaves_residue(), "{error}");
    host.mend(Command::Add);

    host.hold(Command::Add);
    let (attaching, subject) = (network.clone(), pod.clone());
    let attached = tokio::spawn(async move { attaching.attach_open(&subject, netns).await });
    eventually("it has begun", || host.calls().iter().filter(|call| call.0 == Command::Add).count() == 2)
        .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!attached.is_finished());
    host.let_go(Command::Add);
    attached.await.unwrap().unwrap();
    assert_eq!(host.attached().len(), 1);
}
