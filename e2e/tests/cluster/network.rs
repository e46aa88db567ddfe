//! Pods of two nodes, which reach each other and the Services.

use crate::stage::{self, IDLE, Scenario, Stage, container, pod};
use crate::workloads::asks;
use e2e::cluster::{Cluster, Options};
use e2e::http::Request;
use serde_json::{Value, json};
use std::net::SocketAddr;

#[test]
fn pods_of_two_nodes_reach_each_other() {
    let options = Options { nodes: 2, ..Options::new("network") };
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    const SCENARIOS: &[Scenario] = &[
        ("across", across),
        ("services", services),
        ("host-network", host_network),
        ("host-port", host_port),
        ("node-port", node_port),
    ];
    stage::play(&cluster, SCENARIOS);
}

/// Says its name over HTTP, on a node of one's choice.
fn server(name: &str, node: u8) -> Value {
    let script =
        format!("mkdir /tmp/www; echo {name} >/tmp/www/index.html; httpd -p 8080 -h /tmp/www; {IDLE}");
    let mut main = container("main", &script);
    main["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    pod(name, json!({"containers": [main], "nodeName": e2e::cluster::name(node)}))
}

fn address(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().unwrap().to_owned()
}

fn across(stage: &Stage<'_>) {
    for node in [1, 2] {
        stage.create(server(&format!("on-{node}"), node));
    }
    let (first, second) = (stage.ready("on-1"), stage.ready("on-2"));
    assert!(address(&first).starts_with("10.214.1.") && address(&second).starts_with("10.214.2."));
    asks(stage, "on-1", &address(&second), 8080, "on-2\n");
    asks(stage, "on-2", &address(&first), 8080, "on-1\n");
    // Logs and commands find the other node's kubelet too.
    assert_eq!(stage.shell("on-2", "hostname"), "on-2\n");
}

/// By name, from either node, whichever node the pod is on.
fn services(stage: &Stage<'_>) {
    stage.create(server("web", 2));
    stage.create(server("client", 1));
    stage.kubectl.run(&["expose", "pod/web", "--port=80", "--target-port=8080"]).unwrap();
    stage.ready("web");
    stage.ready("client");
    asks(stage, "client", "web", 80, "web\n");
    for client in ["client", "web"] {
        asks(stage, client, "web.services.svc.cluster.local", 80, "web\n");
    }
    let seen = stage.shell("client", "echo $WEB_SERVICE_HOST; nslookup kubernetes.default.svc.cluster.local");
    assert!(seen.contains("10.215.0.1"), "{seen}");
}

fn host_network(stage: &Stage<'_>) {
    let mut own = server("own", 2);
    own["spec"]["hostNetwork"] = json!(true);
    stage.create(own);
    stage.create(server("client", 1));
    let own = stage.ready("own");
    assert_eq!((address(&own), &own["status"]["hostIP"]), ("10.213.0.2".to_owned(), &json!("10.213.0.2")));
    stage.ready("client");
    asks(stage, "client", "10.213.0.2", 8080, "own\n");
    // Both nodes are on one host, whose name is not the node's.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(stage.shell("own", "hostname"), host);
}

fn get(address: &str) -> String {
    let server: SocketAddr = address.parse().unwrap();
    let reply = Request { method: "GET", target: "/", headers: &[], body: &[] }.send(server).unwrap();
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn host_port(stage: &Stage<'_>) {
    for node in [1, 2] {
        let mut web = server(&format!("web-{node}"), node);
        web["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 8088}]);
        stage.create(web);
    }
    for node in [1, 2] {
        stage.ready(&format!("web-{node}"));
        assert_eq!(get(&format!("10.213.0.{node}:8088")), format!("web-{node}\n"));
    }
}

/// A port of each node leads to the pod, wherever that is.
fn node_port(stage: &Stage<'_>) {
    stage.create(server("web", 2));
    stage.ready("web");
    stage.kubectl.run(&["expose", "pod/web", "--port=80", "--target-port=8080", "--type=NodePort"]).unwrap();
    let service = stage.kubectl.get(&["get", "service/web"]).unwrap();
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let end = std::time::Instant::now() + stage::PATIENCE;
    for node in [1, 2] {
        let server: SocketAddr = format!("10.213.0.{node}:{port}").parse().unwrap();
        while std::net::TcpStream::connect_timeout(&server, std::time::Duration::from_secs(2)).is_err() {
            assert!(std::time::Instant::now() < end, "{server} does not answer");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert_eq!(get(&server.to_string()), "web\n");
    }
}
