//! Pods whose DEL fails: each can be removed, and what it leaves is deleted later.

use super::harness::{Log, Node, RESULT, eventually, list, pod};
use super::plugins::{Pod, on_own_host};
use crate::{NetError, PodNetwork};
use serde_json::json;
use std::fs;
use std::time::{Duration, SystemTime};

/// A pod whose namespace is there: any will do for plugins that are scripts.
fn with_namespace(id: &str) -> PodNetwork {
    PodNetwork { netns: "/proc/self/ns/net".into(), ..pod(id) }
}

#[tokio::test]
async fn a_failed_clean_up_keeps_no_pod_and_is_tried_again() {
    let node = Node::new();
    node.address_plugin("a");
    node.plugin("b", "[ -e $D/well ] && exit 0; echo broken >&2; exit 3");
    node.conf("10.conflist", &list("1.0.0", &["a", "b"]));
    let network = node.open();
    let error = network.attach(&with_namespace("c1")).await.unwrap_err();
    assert!(error.leaves_residue());
    assert_eq!(node.calls(), ["a ADD", "b ADD", "b DEL", "a DEL"], "a is cleaned up though b fails");
    assert_eq!(error.to_string(), "cni ADD b: exit status: 3: broken; and so does cni DEL b");
    // Never attached: the namespace is of no use to another attempt.
    network.detach(&with_namespace("c1"), None).await.unwrap();
    assert_eq!(node.journal(), 1, "what is left is known");
    let told = network.status().message;
    assert!(told.contains("default/web on net1 (c1-eth0.left): cni DEL b: exit status: 3: broken"), "{told}");
    eventually("tried again", || node.calls().len() > 8).await;
    assert_eq!(network.status().message, told, "no less after another attempt");
    assert!(network.status().ready, "other pods have a network");
    fs::write(node.path("well"), "").unwrap();
    eventually("tried again", || node.journal() == 0).await;
    eventually("all is well", || network.status().message.is_empty()).await;
}

#[tokio::test]
async fn a_plugin_that_ends_well_has_deleted_whatever_it_prints() {
    let node = Node::new();
    node.plugin("a", &format!("[ $CNI_COMMAND = DEL ] && {{ echo nonsense; exit 0; }}; echo '{RESULT}'"));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let attachment = network.attach(&with_namespace("c1")).await.unwrap();
    network.detach(&with_namespace("c1"), Some(&attachment)).await.unwrap();
    assert_eq!((node.calls(), node.journal()), (vec!["a ADD".to_owned(), "a DEL".to_owned()], 0));
}

/// The directory of plugins changes in the middle of an ADD.
#[tokio::test]
async fn only_the_plugin_whose_add_failed_is_excused_from_the_clean_up() {
    let node = Node::new();
    node.address_plugin("a");
    let vanish = "[ $CNI_COMMAND = ADD ] && rm $D/bin/b";
    node.plugin("b", &format!("{vanish} && echo '{RESULT}'; exit 0"));
    node.conf("10.conflist", &list("1.0.0", &["a", "b", "absent"]));
    let network = node.open();
    let error = network.attach(&with_namespace("c1")).await.unwrap_err();
    assert!(error.leaves_residue(), "{error}");
    assert_eq!(node.calls(), ["a ADD", "b ADD", "a DEL"]);
    network.detach(&with_namespace("c1"), None).await.unwrap();
    let told = network.status().message;
    assert!(told.contains("default/web on net1 (c1-eth0.left): cni DEL b: no such plugin"), "{told}");
    node.address_plugin("b");
    eventually("its binary is back", || node.journal() == 0).await;
    assert_eq!(node.stdin("b", "DEL")["prevResult"]["x-own"], 7, "what b had made is found by that");
}

#[tokio::test]
async fn a_plugin_that_refuses_both_hides_no_failure_before_it() {
    let node = Node::new();
    node.plugin("a", &format!("[ $CNI_COMMAND = ADD ] && echo '{RESULT}' && exit 0; [ -e $D/well ] && exit 0; echo busy >&2; exit 3"));
    node.plugin("b", r#"echo '{"cniVersion": "1.0.0", "code": 7, "msg": "no mode"}'; exit 1"#);
    node.conf("10.conflist", &list("1.0.0", &["a", "b"]));
    let network = node.open();
    let error = network.attach(&with_namespace("c1")).await.unwrap_err();
    assert!(error.leaves_residue(), "{error}");
    assert!(error.to_string().ends_with("cni DEL a: exit status: 3: busy"), "{error}");
    network.detach(&with_namespace("c1"), None).await.unwrap();
    assert!(network.status().message.contains("cni DEL a: exit status: 3: busy"), "{:?}", network.status());
    fs::write(node.path("well"), "").unwrap();
    eventually("b, which has nothing, is not waited for", || node.journal() == 0).await;
}

#[tokio::test]
async fn what_is_left_is_tried_again_as_often_as_the_settings_in_force_say() {
    let mut node = Node::new();
    node.settings.status_interval_seconds = 3600;
    node.plugin("a", "echo broken >&2; exit 3");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    network.reconfigure(&crate::NetworkSettings { status_interval_seconds: 1, ..node.settings.clone() });
    assert!(network.attach(&with_namespace("c1")).await.unwrap_err().leaves_residue());
    network.detach(&with_namespace("c1"), None).await.unwrap();
    let before = node.calls().len();
    eventually("tried again", || node.calls().len() > before).await;
}

#[tokio::test]
async fn what_is_left_outlives_a_restart_and_goes_with_gc() {
    let node = Node::new();
    node.plugin("a", &format!("[ -e $D/well ] && exit 0; [ $CNI_COMMAND = ADD ] || exit 1; echo '{RESULT}'"));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let attachment = network.attach(&pod("c1")).await.unwrap();
    network.detach(&pod("c1"), Some(&attachment)).await.unwrap();
    drop(network);
    let network = node.open();
    assert_eq!(node.journal(), 1);
    network.gc(&[]).await.unwrap();
    assert_eq!(node.journal(), 1, "not yet");
    fs::write(node.path("well"), "").unwrap();
    network.gc(&[]).await.unwrap();
    assert_eq!(node.journal(), 0);
    assert_eq!(node.stdin("a", "DEL")["prevResult"]["x-own"], 7);
}

#[tokio::test]
async fn a_plugin_that_fails_while_the_namespace_is_there_is_asked_three_times() {
    let node = Node::new();
    node.plugin("a", &format!("[ $CNI_COMMAND = ADD ] || {{ echo 'dial unix /run/cni/dhcp.sock' >&2; exit 1; }}; echo '{RESULT}'"));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let pod = with_namespace("c1");
    let attachment = network.attach(&pod).await.unwrap();
    for _ in 0..2 {
        let error = network.detach(&pod, Some(&attachment)).await.unwrap_err();
        assert!(error.to_string().contains("dhcp.sock"), "{error}");
    }
    network.detach(&pod, Some(&attachment)).await.unwrap();
    assert_eq!(node.journal(), 1);
}

#[tokio::test]
async fn a_plugin_that_is_gone_holds_no_pod() {
    let node = Node::new();
    node.address_plugin("a");
    node.address_plugin("b");
    node.conf("10.conflist", &list("1.0.0", &["a", "b"]));
    let network = node.open();
    let pod = with_namespace("c1");
    let attachment = network.attach(&pod).await.unwrap();
    let binary = node.settings.bin_dirs[0].join("b");
    fs::remove_file(&binary).unwrap();
    node.forget_calls();
    network.detach(&pod, Some(&attachment)).await.unwrap();
    assert_eq!(node.calls(), ["a DEL"]);
    let told = || network.status().message;
    assert!(told().contains("default/web on net1 (c1-eth0.left): cni DEL b: no such plugin"), "{}", told());
    eventually("and what keeps the node", || {
        let told = told();
        told.contains("no CNI plugin b") && told.contains("default/web on net1") && !network.status().ready
    })
    .await;
    node.address_plugin("b");
    eventually("its binary is back", || node.journal() == 0).await;
    assert_eq!(node.stdin("b", "DEL")["prevResult"]["x-own"], 7);
}

#[tokio::test]
async fn what_is_never_released_is_told_for_a_day_and_given_up_by_its_file() {
    let node = Node::new();
    let tries = "[ $CNI_COMMAND = ADD ] || { echo pool is gone >&2; exit 1; }";
    node.plugin("a", &format!("{tries}; echo '{RESULT}'"));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    for id in ["c1", "c2"] {
        let attachment = network.attach(&pod(id)).await.unwrap();
        network.detach(&pod(id), Some(&attachment)).await.unwrap();
    }
    let told = || network.status().message;
    assert!(told().contains("(2)") && told().contains("c2-eth0.left"), "{}", told());
    let file = |id: &str| node.settings.state_dir.join(format!("attachments/{id}-eth0.left"));
    fs::remove_file(file("c2")).unwrap();
    assert!(told().contains("(1)") && !told().contains("c2-eth0.left"), "at once: {}", told());
    let two_days = Duration::from_secs(2 * 24 * 3600);
    let left = fs::File::options().write(true).open(file("c1")).unwrap();
    left.set_modified(SystemTime::now() - two_days).unwrap();
    eventually("told no longer", || told().is_empty()).await;
    assert_eq!(node.journal(), 1);
    node.address_plugin("a");
    node.conf("10.conflist", &list("1.0.0", &["a", "a"]));
    eventually("another configuration", || node.journal() == 0).await;
}

#[tokio::test]
async fn failures_are_logged_once_with_pod_network_and_error() {
    let (log, _guard) = Log::of_this_thread();
    let node = Node::new();
    node.plugin(
        "a",
        &format!("[ $CNI_COMMAND = ADD ] || {{ echo pool is gone >&2; exit 1; }}; echo '{RESULT}'"),
    );
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let attachment = network.attach(&pod("c1")).await.unwrap();
    network.detach(&pod("c1"), Some(&attachment)).await.unwrap();
    eventually("tried again", || node.calls().len() > 3).await;
    let log = log.text();
    let failures: Vec<&str> = log.lines().filter(|line| line.contains("pool is gone")).collect();
    assert_eq!(failures.len(), 2, "the plugin's own and what becomes of it: {log}");
    for line in failures {
        let names = ["WARN", "default/web", "c1", "net1", "cni DEL a: exit status: 1"];
        assert!(names.iter().all(|name| line.contains(name)), "{line}");
    }
}

const OLD: &str = r#"if grep -q '"cniVersion":"1.1.0"' $D/a.$CNI_COMMAND.json; then
  echo '{"cniVersion": "1.0.0", "code": 1, "msg": "incompatible CNI versions"}'; exit 1
fi; exit 0"#;

#[tokio::test]
async fn a_plugin_that_refuses_the_version_leaves_nothing() {
    let node = Node::new();
    node.plugin("a", OLD);
    node.conf("10.conflist", &list("1.1.0", &["a"]));
    let network = node.open();
    let error = network.attach(&with_namespace("c1")).await.unwrap_err();
    assert_eq!(error.to_string(), "cni ADD a: incompatible CNI versions", "said once");
    assert_eq!((error.leaves_residue(), node.journal()), (false, 0));
    network.detach(&with_namespace("c1"), None).await.unwrap();
}

#[tokio::test]
async fn the_configuration_in_force_deletes_where_that_of_add_no_longer_can() {
    let node = Node::new();
    node.address_plugin("a");
    node.conf("10.conflist", &list("1.1.0", &["a"]));
    let network = node.open();
    let pod = with_namespace("c1");
    let attachment = network.attach(&pod).await.unwrap();
    node.plugin("a", OLD);
    node.conf(
        "10.conflist",
        r#"{"name": "other", "cniVersion": "1.0.0", "plugins": [{"type": "a", "new": 1}]}"#,
    );
    eventually("in force", || network.loaded_name() == "other").await;
    node.forget_calls();
    network.detach(&pod, Some(&attachment)).await.unwrap();
    assert_eq!(node.calls(), ["a DEL", "a DEL"]);
    let given = node.stdin("a", "DEL");
    assert_eq!(
        (&given["cniVersion"], &given["new"], &given["name"]),
        (&json!("1.0.0"), &json!(1), &json!("net1"))
    );
    assert_eq!(given["prevResult"]["cniVersion"], "1.0.0");
    assert_eq!(node.journal(), 0);
}

#[test]
fn what_a_plugin_in_process_would_refuse_is_said_when_it_is_loaded() {
    on_own_host(|node| async move {
        for (field, problem) in [
            (r#""hairpinMode": true, "promiscMode": true"#, "exclude one another"),
            (r#""mtu": "9001""#, "invalid type: string"),
            (r#""ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.2.3/24"}]]}"#, "host bits"),
        ] {
            let plugin = format!(r#"{{"type": "bridge", "bridge": "real0", {field}}}"#);
            let list = format!(r#"{{"name": "n", "cniVersion": "0.4.0", "plugins": [{plugin}]}}"#);
            node.conf("10.conflist", &list);
            let network = node.open();
            let status = network.status();
            let said = status.message.contains("10.conflist: ") && status.message.contains(problem);
            assert!(!status.ready && said, "at once: {status:?}");
            let pod = Pod::new(&node, "pod", 0);
            let error = network.attach(&pod.network).await.unwrap_err();
            assert!(
                matches!(error, NetError::Plugin { .. }) && error.to_string().contains(problem),
                "{error}"
            );
            network.detach(&pod.network, None).await.unwrap();
            assert_eq!(node.journal(), 0);
            let mended = r#"{"name": "n", "cniVersion": "0.4.0", "plugins": [{"type": "loopback"}]}"#;
            node.conf("10.conflist", mended);
            eventually("mended", || network.status().ready).await;
        }
    });
}

#[tokio::test]
async fn once_configured_a_node_never_falls_back() {
    let mut node = Node::new();
    node.settings.builtin_network = true;
    node.address_plugin("a");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    assert_eq!(network.loaded_name(), "net1");
    fs::remove_file(node.settings.conf_dir.join("10.conflist")).unwrap();
    eventually("seen", || !network.status().ready).await;
    drop(network);
    let network = node.open();
    let status = network.status();
    assert!(
        !status.ready && status.message.contains("10.conflist was in force"),
        "after a restart: {status:?}"
    );
    assert!(matches!(network.attach(&pod("c1")).await, Err(NetError::NotReady { .. })));
    let memory = node.settings.data_dir.join("configured");
    assert!(status.message.contains(&memory.display().to_string()), "{status:?}");
    fs::remove_file(memory).unwrap();
    eventually("as said", || network.loaded_name() == "corten").await;
}
