use super::harness::{Node, RESULT, eventually, list, pod};
use crate::Network;
use serde_json::json;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn status_is_asked_in_the_background() {
    let node = Node::new();
    node.plugin("a", r#"[ -e $D/well ] && exit 0; echo '{"cniVersion": "1.1.0", "code": 50, "msg": "no controller"}'; exit 1"#);
    node.conf("10.conflist", &list("1.1.0", &["a"]));
    let network = node.open();
    eventually("asked", || network.status().message.contains("cni STATUS a: no controller")).await;
    assert_eq!(network.status().reason, "NetworkPluginNotReady");
    assert_eq!(node.stdin("a", "STATUS"), json!({"type": "a", "name": "net1", "cniVersion": "1.1.0"}));
    let env = node.env("a", "STATUS");
    assert!(env.len() == 2 && env[0] == "CNI_COMMAND=STATUS" && env[1].starts_with("CNI_PATH="), "{env:?}");
    fs::write(node.path("well"), "").unwrap();
    eventually("well", || network.status().ready).await;
    fs::remove_file(node.path("well")).unwrap();
    eventually("ill again", || !network.status().ready).await;
}

#[tokio::test]
async fn a_hanging_status_keeps_nobody_waiting() {
    let mut node = Node::new();
    node.settings.plugin_timeout_seconds = 3600;
    node.plugin(
        "a",
        &format!("[ $CNI_COMMAND = STATUS ] && {{ : > $D/hangs; exec sleep 1000; }}; echo '{RESULT}'"),
    );
    node.conf("10.conflist", &list("1.1.0", &["a"]));
    let network = node.open();
    eventually("it hangs", || node.path("hangs").exists()).await;
    assert!(!network.status().ready, "not yet known");
    network.attach(&pod("c1")).await.unwrap();
    node.conf("05.conflist", &list("1.0.0", &["a"]));
    eventually("a change is seen nevertheless", || network.status().ready).await;
}

#[tokio::test]
async fn a_hanging_status_is_given_up() {
    let mut node = Node::new();
    node.settings.plugin_timeout_seconds = 2;
    node.plugin("a", "exec sleep 1000");
    node.conf("10.conflist", &list("1.1.0", &["a"]));
    let network = node.open();
    eventually("timed out", || network.status().message.contains("no answer within 2 s")).await;
}

#[tokio::test]
async fn older_versions_have_no_status() {
    let node = Node::new();
    node.plugin("a", "exit 1");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(network.status().ready);
    assert!(node.calls().is_empty());
}

#[tokio::test]
async fn gc_names_the_valid_and_deletes_the_stale() {
    let node = Node::new();
    node.address_plugin("a");
    node.address_plugin("b");
    node.conf("10.conflist", &list("1.1.0", &["a", "b"]));
    let network = node.open();
    eventually("ready", || network.status().ready).await;
    network.attach(&pod("c1")).await.unwrap();
    network.attach(&pod("c2")).await.unwrap();
    drop(network);
    let network = node.open();
    eventually("ready", || network.status().ready).await;
    node.forget_calls();
    network.gc(&[("c2".to_owned(), "eth0".to_owned())]).await.unwrap();
    let calls: Vec<_> = node.calls().into_iter().filter(|call| !call.ends_with("STATUS")).collect();
    assert_eq!(calls, ["b DEL", "a DEL", "a GC", "b GC"]);
    assert!(node.env("a", "DEL").contains(&"CNI_CONTAINERID=c1".to_owned()));
    assert_eq!(
        node.stdin("a", "GC"),
        json!({"type": "a", "name": "net1", "cniVersion": "1.1.0",
               "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]})
    );
    assert_eq!(node.journal(), 1);
}

#[tokio::test]
async fn gc_goes_on_past_failures_and_can_be_disabled() {
    let node = Node::new();
    node.plugin("a", "[ $CNI_COMMAND = GC ] && exit 1; exit 0");
    node.plugin("b", "exit 0");
    node.conf("10.conflist", &list("1.1.0", &["a", "b"]));
    let network = node.open();
    let error = network.gc(&[]).await.unwrap_err();
    assert!(error.to_string().starts_with("cni GC a: exit status: 1"), "{error}");
    assert!(node.calls().contains(&"b GC".to_owned()));

    let node = Node::new();
    node.plugin("a", "exit 1");
    node.conf(
        "10.conflist",
        r#"{"name": "n", "cniVersion": "1.1.0", "disableGC": true, "plugins": [{"type": "a"}]}"#,
    );
    node.open().gc(&[]).await.unwrap();
    assert!(!node.calls().contains(&"a GC".to_owned()));
}

#[tokio::test]
async fn calls_are_measured() {
    let node = Node::new();
    node.plugin("a", &format!("[ $CNI_COMMAND = ADD ] || exit 1; echo '{RESULT}'"));
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let registry = prometheus::Registry::new();
    let network = Network::open(node.settings.clone(), &registry).unwrap();
    let attachment = network.attach(&pod("c1")).await.unwrap();
    // Its namespace is gone, so the failure keeps nobody from removing the pod.
    network.detach(&pod("c1"), Some(&attachment)).await.unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        r#"corten_cni_operations_total{mode="executed",operation="ADD",plugin="a"} 1"#,
        r#"corten_cni_operations_total{mode="executed",operation="DEL",plugin="a"} 1"#,
        r#"corten_cni_errors_total{mode="executed",operation="DEL",plugin="a"} 1"#,
        r#"corten_cni_operation_seconds_count{mode="executed",operation="ADD",plugin="a"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // There from the first call on, so that rates can be taken of it.
    let none = r#"corten_cni_errors_total{mode="executed",operation="ADD",plugin="a"} 0"#;
    assert!(text.contains(none), "{none} in {text}");
}

#[test]
fn settings_have_defaults_and_no_unknown_keys() {
    let settings: crate::NetworkSettings = serde_json::from_value(json!({"in_process": false})).unwrap();
    assert_eq!(settings, crate::NetworkSettings { in_process: false, ..crate::NetworkSettings::default() });
    assert!(serde_json::from_value::<crate::NetworkSettings>(json!({"conf_dirs": "/x"})).is_err());
}

#[tokio::test]
async fn what_makes_a_built_in_plugin_be_executed_is_told() {
    let mut node = Node::new();
    let suspect = r#"{"type": "bridge", "bridge": "real0", "isGateWay": true}"#;
    let list = |plugin: &str| format!(r#"{{"name": "n", "cniVersion": "1.1.0", "plugins": [{plugin}]}}"#);
    node.conf("10.conflist", &list(suspect));
    let network = node.open();
    let why = "key isGateWay is not known to the built-in bridge (isGateway may be meant)";
    let absent = network.status();
    assert!(!absent.ready && absent.message.contains("no CNI plugin bridge in "), "{absent:?}");
    assert_eq!(absent.message.matches(why).count(), 1, "{absent:?}");
    assert_eq!(node.settings.check_host().len(), 1, "{:?}", node.settings.check_host());

    node.plugin(
        "bridge",
        r#"[ -e $D/well ] && exit 0; echo '{"code": 3, "msg": "missing containerID"}'; exit 1"#,
    );
    let path = node.settings.bin_dirs[0].join("bridge");
    let executed = format!("{why}, so that {} is executed instead", path.display());
    let told = |part: &str| network.status().message.contains(part);
    eventually("asked", || told("missing containerID") && told(&executed)).await;
    std::fs::write(node.path("well"), "").unwrap();
    eventually("it serves", || network.status().ready).await;
    assert_eq!(network.status().message, executed);
    let checked = node.settings.check_host();
    assert!(checked[0].contains("10.conflist: ") && checked[0].ends_with(&executed), "{checked:?}");

    // What the binaries of others do and ours do not is nobody's mistake.
    node.conf("10.conflist", &list(r#"{"type": "bridge", "bridge": "real0", "vlan": 5}"#));
    eventually("in force", || network.status().ready && network.status().message.is_empty()).await;
    assert_eq!(node.settings.check_host(), Vec::<String>::new());
    std::fs::remove_file(&path).unwrap();
    eventually("no binary", || told("the built-in bridge does not do vlan (vlan filtering")).await;
    node.settings.in_process = false;
    assert!(!node.settings.check_host()[0].contains("built-in"), "{:?}", node.settings.check_host());
}
