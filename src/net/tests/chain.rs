use super::harness::{Log, Node, RESULT, eventually, list, pod};
use crate::{Attachment, NetError, PodNetwork};
use model::{DnsConfig, PortMapping, Protocol};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

fn rich_pod() -> PodNetwork {
    let mapping =
        |host_port, host_ip| PortMapping { protocol: Protocol::Udp, container_port: 53, host_port, host_ip };
    PodNetwork {
        port_mappings: vec![
            mapping(8053, Some("127.0.0.1".parse().unwrap())),
            mapping(0, None),
            mapping(8054, None),
        ],
        dns: Some(DnsConfig {
            servers: vec!["10.0.0.10".into()],
            searches: vec!["a".into()],
            options: vec!["o".into()],
        }),
        annotations: [("kubernetes.io/ingress-bandwidth".to_owned(), "1M".to_owned())].into(),
        cgroup_path: "/kubepods/pod1".to_owned(),
        ..pod("c1")
    }
}

const CAPABLE: &str = r#"{"name": "net1", "cniVersion": "1.0.0", "plugins": [{"type": "a", "own": 1},
  {"type": "b", "capabilities": {"portMappings": true, "bandwidth": true, "ipRanges": true, "dns": true,
   "cgroupPath": true, "io.kubernetes.cri.pod-annotations": true, "mac": true, "other": true}},
  {"type": "c", "capabilities": {"portMappings": false, "dns": true}}]}"#;

#[tokio::test]
async fn add_passes_results_on_and_del_goes_back() {
    let node = Node::new();
    node.address_plugin("a");
    node.plugin("b", r#"[ $CNI_COMMAND = ADD ] && echo '{"ips": [{"address": "10.9.0.3/24"}], "dns": {"nameservers": ["9.9.9.9"]}}'; exit 0"#);
    node.plugin(
        "c",
        r#"[ $CNI_COMMAND = ADD ] && echo '{"cniVersion": "0.2.0", "ip4": {"ip": "10.9.0.4/24"}}'; exit 0"#,
    );
    node.conf("10.conflist", CAPABLE);
    let network = node.open();
    network.set_pod_cidrs(&["10.244.1.0/24".parse().unwrap()]).unwrap();
    assert!(network.status().ready, "{:?}", network.status());
    let attachment = network.attach(&rich_pod()).await.unwrap();
    assert_eq!(node.calls(), ["a ADD", "b ADD", "c ADD"]);
    assert_eq!(attachment.ips, ["10.9.0.4".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(attachment.dns.nameservers, ["9.9.9.9"]);

    let first = node.stdin("a", "ADD");
    assert_eq!(first, json!({"type": "a", "own": 1, "name": "net1", "cniVersion": "1.0.0"}));
    let second = node.stdin("b", "ADD");
    assert_eq!(second["prevResult"], serde_json::from_str::<Value>(RESULT).unwrap(), "verbatim");
    assert_eq!(
        second["runtimeConfig"],
        json!({
            "portMappings": [{"hostPort": 8053, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
                             {"hostPort": 8054, "containerPort": 53, "protocol": "udp"}],
            "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": u32::MAX},
            "ipRanges": [[{"subnet": "10.244.1.0/24"}]],
            "dns": {"servers": ["10.0.0.10"], "searches": ["a"], "options": ["o"]},
            "cgroupPath": "/kubepods/pod1",
            "io.kubernetes.cri.pod-annotations": {"kubernetes.io/ingress-bandwidth": "1M"},
        })
    );
    let third = node.stdin("c", "ADD");
    assert_eq!(third["runtimeConfig"].as_object().unwrap().keys().collect::<Vec<_>>(), ["dns"]);
    assert_eq!(third["prevResult"]["cniVersion"], "1.0.0", "filled in");

    let path =
        node.settings.bin_dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":");
    assert_eq!(
        node.env("b", "ADD"),
        [
            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1",
            "CNI_COMMAND=ADD",
            "CNI_CONTAINERID=c1",
            "CNI_IFNAME=eth0",
            "CNI_NETNS=/nonexistent/ns",
            &format!("CNI_PATH={path}"),
        ]
    );

    node.forget_calls();
    network.check(&rich_pod(), &attachment).await.unwrap();
    assert_eq!(node.calls(), ["a CHECK", "b CHECK", "c CHECK"]);
    assert_eq!(node.stdin("a", "CHECK")["prevResult"]["ips"][0]["address"], "10.9.0.4/24");

    node.forget_calls();
    network.detach(&rich_pod(), Some(&attachment)).await.unwrap();
    assert_eq!(node.calls(), ["c DEL", "b DEL", "a DEL"]);
    assert_eq!(node.stdin("a", "DEL")["prevResult"]["ips"][0]["address"], "10.9.0.4/24");
    assert_eq!(node.stdin("b", "DEL")["runtimeConfig"]["portMappings"][0]["hostPort"], 8053);
    assert!(node.env("b", "DEL").contains(&"CNI_NETNS=".to_owned()), "the namespace is gone");
    assert_eq!(node.journal(), 0);
}

#[tokio::test]
async fn del_uses_what_add_used_after_a_restart_and_a_change() {
    let node = Node::new();
    node.address_plugin("a");
    node.address_plugin("b");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let attachment = network.attach(&pod("c1")).await.unwrap();
    network.attach(&pod("c2")).await.unwrap();
    drop(network);
    node.conf("10.conflist", &list("1.0.0", &["b"]));
    node.forget_calls();

    let network = node.open();
    let stored: Attachment = serde_json::from_slice(&serde_json::to_vec(&attachment).unwrap()).unwrap();
    assert_eq!(stored, attachment);
    network.detach(&pod("c1"), Some(&stored)).await.unwrap();
    fs::remove_file(node.settings.conf_dir.join("10.conflist")).unwrap();
    eventually("not ready", || !network.status().ready).await;
    network.detach(&pod("c2"), None).await.unwrap();
    assert_eq!(node.calls(), ["a DEL", "a DEL"]);
    assert_eq!(node.env("a", "DEL")[2], "CNI_CONTAINERID=c2");
    assert_eq!(node.stdin("a", "DEL")["prevResult"]["x-own"], 7, "the recorded result");

    network.detach(&pod("c3"), None).await.unwrap();
    let error = network.attach(&pod("c3")).await.unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Unavailable);
    assert!(error.to_string().contains(&node.settings.conf_dir.display().to_string()), "{error}");
    assert_eq!(node.calls().len(), 2);
}

#[tokio::test]
async fn versions_say_which_commands_and_results_there_are() {
    let node = Node::new();
    node.plugin(
        "a",
        r#"[ $CNI_COMMAND = ADD ] && echo '{"ips": [{"version": "4", "address": "10.9.0.2/24"}]}'; exit 0"#,
    );
    node.conf("10.conf", r#"{"name": "net1", "cniVersion": "0.3.1", "type": "a"}"#);
    let network = node.open();
    let attachment = network.attach(&pod("c1")).await.unwrap();
    network.check(&pod("c1"), &attachment).await.unwrap();
    network.gc(&[]).await.unwrap();
    assert_eq!(node.calls(), ["a ADD", "a DEL"], "no CHECK, no GC, but what is stale goes");
    assert!(node.stdin("a", "DEL").get("prevResult").is_none(), "only from 0.4.0 on");
    assert_eq!(attachment.cni_result().unwrap().unwrap().ips.len(), 1);
}

#[tokio::test]
async fn pods_are_attached_at_the_same_time_within_the_limit() {
    for (limit, expected) in [(8, 4), (1, 1)] {
        let mut node = Node::new();
        node.settings.max_executing_plugins = limit;
        node.plugin("a", &format!("echo x >> $D/running; sleep 0.4; wc -l < $D/running >> $D/seen; sed -i 1d $D/running; echo '{RESULT}'"));
        node.conf("10.conflist", &list("1.0.0", &["a"]));
        let network = node.open();
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let network = Arc::clone(&network);
                tokio::spawn(async move { network.attach(&pod(&format!("c{n}"))).await.map(drop) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let seen = fs::read_to_string(node.path("seen")).unwrap();
        let most = seen.lines().filter_map(|line| line.trim().parse::<i32>().ok()).max().unwrap();
        if limit == 1 {
            assert_eq!(most, expected);
        } else {
            assert!(most > 1, "{seen}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_refused_before_anything_runs() {
    let node = Node::new();
    node.address_plugin("a");
    node.conf("10.conflist", &list("1.0.0", &["a"]));
    let network = node.open();
    let bandwidth = PodNetwork {
        annotations: [("kubernetes.io/egress-bandwidth".to_owned(), "lots".to_owned())].into(),
        ..pod("c1")
    };
    let smuggled = PodNetwork { name: "web;K8S_POD_NAMESPACE=kube-system".to_owned(), ..pod("c1") };
    for bad in [bandwidth, smuggled, pod("../c1"), pod("")] {
        let error = network.attach(&bad).await.unwrap_err();
        assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{error}");
        assert!(matches!(error, NetError::Bandwidth { .. } | NetError::Argument { .. }));
    }
    assert!(node.calls().is_empty());
    assert_eq!(node.journal(), 0);
}

#[tokio::test]
async fn ports_of_the_host_that_somebody_has_already_are_told() {
    let (log, _guard) = Log::of_this_thread();
    let node = Node::new();
    node.address_plugin("a");
    let list = r#"{"name": "net1", "cniVersion": "1.0.0", "plugins": [
        {"type": "a", "capabilities": {"portMappings": true}}]}"#;
    node.conf("10.conflist", list);
    let network = node.open();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let with_port = |id: &str, host_port: u16| {
        let mapping = PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip: None };
        PodNetwork { name: format!("web-{id}"), port_mappings: vec![mapping], ..pod(id) }
    };
    network.attach(&with_port("c1", taken)).await.unwrap();
    let listens = format!("listener=\"127.0.0.1:{taken}/tcp\"");
    let of = |words: &[&str]| {
        let text = log.text();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    let program = ["WARN", "default/web-c1", listens.as_str()];
    eventually("the program is told", || of(&program) == 1).await;
    assert_eq!(of(&["two pods"]), 0, "{}", log.text());
    network.attach(&with_port("c2", taken)).await.unwrap();
    let both = ["WARN", "two pods want", "default/web-c1", "default/web-c2", &format!("{taken}/tcp")];
    eventually("both pods are told", || of(&both) == 1).await;

    // Nobody else has it: the last look is over when the next has told something.
    drop(listener);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    network.attach(&with_port("c3", free)).await.unwrap();
    network.attach(&with_port("c4", taken)).await.unwrap();
    eventually("looked", || of(&["two pods want", "default/web-c4"]) == 2).await;
    assert_eq!(of(&["default/web-c3"]), 0, "{}", log.text());
}
