//! The portmap plugin on the real kernel.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flushed;
#[path = "../support/mod.rs"]
mod support;

use cni::types::{CniError, CniResult, Command};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::time::Duration;
use support::{Container, Host, ask, gc_conf, ip, on_host};

/// Attaches a container with host ports.
fn attach(host: &Host, pod: &Container, mappings: &Value) -> (CniResult, Value) {
    let result = pod.add(&host.bridge_conf());
    let conf = host.portmap_conf(mappings, &result);
    assert_eq!(pod.add(&conf), result);
    (result, conf)
}

fn detach(host: &Host, pod: &Container, conf: &Value) {
    pod.del(conf);
    pod.del(&host.bridge_conf());
}

#[test]
fn a_host_port_answers_on_every_address_of_the_host() {
    on_host("answers", |host| {
        let pod = host.container("pod");
        let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let (result, conf) = attach(host, &pod, &mappings);
        pod.serve(80);
        let gateways: Vec<_> = result.ips.iter().map(|ip| ip.gateway.unwrap()).collect();
        // From the host, by its addresses; 127.0.0.1 arrives as the bridge's address.
        for gateway in &gateways {
            assert_eq!(ask(*gateway, 8080).unwrap(), gateway.to_string());
        }
        assert_eq!(ask(ip("127.0.0.1"), 8080).unwrap(), gateways[0].to_string());
        // From the container itself: hairpin.
        for gateway in &gateways {
            assert_eq!(pod.inside(|| ask(*gateway, 8080)).unwrap(), gateway.to_string());
        }
        assert!(ask(gateways[0], 8081).is_err());
        pod.run(Command::Check, &conf).unwrap();
        detach(host, &pod, &conf);
        assert!(ask(gateways[0], 8080).is_err());
        assert!(pod.run(Command::Check, &conf).is_err());
        pod.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn clients_of_other_networks_reach_it_with_their_own_address_or_masqueraded() {
    on_host("clients", |host| {
        let other = json!({
            "cniVersion": "1.1.0", "name": "othernet", "type": "bridge", "bridge": "br-other",
            "isDefaultGateway": true,
            "ipam": {"type": "host-local", "dataDir": host.dir.path().join("other"),
                "ranges": [[{"subnet": "10.124.0.0/24"}], [{"subnet": "fd00:124::/64"}]]},
        });
        let client = host.container("client");
        let from = client.add(&other);
        for (masq_all, id) in [(false, "plain"), (true, "masqueraded")] {
            let pod = host.container(id);
            let result = pod.add(&host.bridge_conf());
            let mappings = json!([{"hostPort": 9000, "containerPort": 80, "protocol": "tcp"}]);
            let mut conf = host.portmap_conf(&mappings, &result);
            conf["masqAll"] = json!(masq_all);
            pod.add(&conf);
            pod.serve(80);
            for (at, gateway) in from.ips.iter().map(|ip| ip.gateway.unwrap()).enumerate() {
                let seen = client.inside(|| ask(gateway, 9000)).unwrap();
                let pod_gateway = result.ips[at].gateway.unwrap();
                let own = from.ips[at].address.addr();
                assert_eq!(seen, if masq_all { pod_gateway } else { own }.to_string());
            }
            pod.run(Command::Check, &conf).unwrap();
            detach(host, &pod, &conf);
        }
        client.del(&other);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn a_port_of_one_address_is_of_that_address_only() {
    on_host("hostip", |host| {
        let pod = host.container("pod");
        let mappings = json!([
            {"hostPort": 7000, "containerPort": 80, "protocol": "TCP", "hostIP": "127.0.0.1"},
            {"hostPort": 7001, "containerPort": 80, "protocol": "tcp", "hostIP": "fd00:123::1"},
            {"hostPort": 7002, "containerPort": 80, "protocol": "tcp", "hostIP": "0.0.0.0"},
        ]);
        let (result, conf) = attach(host, &pod, &mappings);
        pod.serve(80);
        let (v4, v6) = (result.ips[0].gateway.unwrap(), result.ips[1].gateway.unwrap());
        ask(ip("127.0.0.1"), 7000).unwrap();
        assert!(ask(v4, 7000).is_err() && ask(v6, 7000).is_err());
        ask(v6, 7001).unwrap();
        assert!(ask(v4, 7001).is_err());
        ask(v4, 7002).unwrap();
        ask(ip("127.0.0.1"), 7002).unwrap();
        assert!(ask(v6, 7002).is_err());
        pod.run(Command::Check, &conf).unwrap();
        detach(host, &pod, &conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn a_port_stays_with_its_first_owner_and_goes_with_its_flows_to_who_has_waited_longest() {
    on_host("udp", |host| {
        let mappings = json!([{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]);
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
        let ask = |expected: &str| {
            let mut buffer = [0; 64];
            client.send_to(b"?", ("10.123.0.1", 5353)).unwrap();
            let (len, _) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], expected.as_bytes());
        };
        let old = host.container("old");
        let (_, old_conf) = attach(host, &old, &mappings);
        old.serve_udp(53, "old");
        ask("old");
        let later = ["second", "third"].map(|id| {
            let pod = host.container(id);
            let (_, conf) = attach(host, &pod, &mappings);
            pod.serve_udp(53, id);
            // The time since when one waits counts in seconds.
            std::thread::sleep(Duration::from_millis(1100));
            (pod, conf)
        });
        ask("old");
        old.run(Command::Check, &old_conf).unwrap();
        for (pod, conf) in &later {
            pod.run(Command::Check, conf).unwrap();
        }
        // One that comes and goes meanwhile changes nothing.
        let guest = host.container("guest");
        let (_, guest_conf) = attach(host, &guest, &mappings);
        detach(host, &guest, &guest_conf);
        ask("old");
        // The same client port: the flow is tracked towards the old container until it is forgotten.
        old.del(&old_conf);
        ask("second");
        old.del(&host.bridge_conf());
        let [(second, second_conf), (third, third_conf)] = later;
        second.run(Command::Check, &second_conf).unwrap();
        detach(host, &second, &second_conf);
        ask("third");
        detach(host, &third, &third_conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn a_port_that_nobody_has_any_more_has_no_flows() {
    on_host("forgotten", |host| {
        let mappings = json!([{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]);
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
        let pod = host.container("pod");
        let (_, conf) = attach(host, &pod, &mappings);
        pod.serve_udp(53, "pod");
        client.send_to(b"?", ("10.123.0.1", 5353)).unwrap();
        client.recv_from(&mut [0; 64]).unwrap();
        pod.del(&conf);
        let tracked = sys::netlink::Socket::netfilter().unwrap().forget_udp_one_by_one(true, 5353);
        assert_eq!(tracked.unwrap(), 0, "flows to the container are tracked still");
        // What listens on the host has the port again, for the same client too.
        let own = UdpSocket::bind("10.123.0.1:5353").unwrap();
        own.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
        client.send_to(b"own", ("10.123.0.1", 5353)).unwrap();
        assert_eq!(own.recv_from(&mut [0; 64]).unwrap().0, 3);
        pod.del(&host.bridge_conf());
    });
}

#[test]
fn a_configuration_that_add_refused_can_be_deleted() {
    on_host("refused-del", |host| {
        let pod = host.container("pod");
        let mappings = json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
            {"hostPort": 8081, "containerPort": 80, "protocol": "tcp"}]);
        let result = pod.add(&host.bridge_conf());
        let good = host.portmap_conf(&mappings, &result);
        for (key, value) in [
            ("conditionsV4", json!(["-i", "eth0"])),
            ("backend", json!("iptables")),
            ("snat", json!("yes")),
            ("markMasqBit", json!(99)),
            ("prevResult", json!("none")),
            ("runtimeConfig", json!({"portMappings": [{"hostPort": "x"}]})),
            (
                "runtimeConfig",
                json!({"portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
                {"hostPort": 8080, "containerPort": 81, "protocol": "udp"},
                {"hostPort": 0, "containerPort": 81, "protocol": "gre"}]}),
            ),
        ] {
            pod.add(&good);
            let mut bad = good.clone();
            bad[key] = value;
            if key != "prevResult" {
                cni::validate(&pod.call(Command::Add, &bad)).unwrap_err();
                pod.run(Command::Add, &bad).unwrap_err();
            }
            pod.del(&bad);
            let left: Vec<_> = host.leftovers().into_iter().filter(|left| left.contains("port")).collect();
            assert_eq!(left, [""; 0], "{bad}");
        }
        pod.del(&host.bridge_conf());
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn udp_flows_are_forgotten_on_kernels_that_can_only_list_them() {
    on_host("flows", |host| {
        let mappings = json!([{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]);
        let pod = host.container("pod");
        let (result, conf) = attach(host, &pod, &mappings);
        pod.serve_udp(53, "here");
        let clients = ["0.0.0.0:0"; 3].map(|address| UdpSocket::bind(address).unwrap());
        for client in &clients {
            client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            client.send_to(b"?", (result.ips[0].gateway.unwrap(), 5353)).unwrap();
            client.recv_from(&mut [0; 64]).unwrap();
        }
        let socket = sys::netlink::Socket::netfilter().unwrap();
        assert_eq!(socket.forget_udp_one_by_one(false, 5353).unwrap(), 0);
        assert_eq!(socket.forget_udp_one_by_one(true, 53).unwrap(), 0);
        assert_eq!(socket.forget_udp_one_by_one(true, 5353).unwrap(), clients.len());
        assert_eq!(socket.forget_udp_one_by_one(true, 5353).unwrap(), 0);
        detach(host, &pod, &conf);
    });
}

#[test]
fn gc_removes_what_is_not_valid() {
    on_host("gc", |host| {
        let pods = ["one", "two"].map(|id| host.container(id));
        let confs: Vec<_> = pods
            .iter()
            .zip([6001, 6002])
            .map(|(pod, port)| {
                let mapping = json!([{"hostPort": port, "containerPort": 80, "protocol": "sctp"}]);
                attach(host, pod, &mapping).1
            })
            .collect();
        let gc = gc_conf(&json!({"cniVersion": "1.1.0", "name": "testnet", "type": "portmap"}), &["two"]);
        pods[0].run(Command::Gc, &gc).unwrap();
        assert!(pods[0].run(Command::Check, &confs[0]).is_err());
        pods[1].run(Command::Check, &confs[1]).unwrap();
        // Those of another network are not its business.
        let mut other = gc_conf(&gc, &[]);
        other["name"] = json!("othernet");
        pods[0].run(Command::Gc, &other).unwrap();
        pods[1].run(Command::Check, &confs[1]).unwrap();
        for (pod, conf) in pods.iter().zip(&confs) {
            detach(host, pod, conf);
        }
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn many_ports_are_mapped_at_once() {
    on_host("many", |host| {
        let pod = host.container("pod");
        let mappings: Vec<_> = (0..500)
            .map(|n| json!({"hostPort": 20000 + n, "containerPort": 80, "protocol": "tcp"}))
            .collect();
        let (result, conf) = attach(host, &pod, &json!(mappings));
        pod.serve(80);
        for port in [20000, 20137, 20499] {
            ask(result.ips[0].gateway.unwrap(), port).unwrap();
        }
        pod.run(Command::Check, &conf).unwrap();
        detach(host, &pod, &conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn wrong_mappings_are_refused() {
    on_host("refused", |host| {
        let pod = host.container("pod");
        let result = pod.add(&host.bridge_conf());
        for mappings in [
            json!([{"hostPort": 0, "containerPort": 80, "protocol": "tcp"}]),
            json!([{"hostPort": 80, "containerPort": 0, "protocol": "tcp"}]),
            json!([{"hostPort": 70000, "containerPort": 80, "protocol": "tcp"}]),
            json!([{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]),
            json!([{"hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "here"}]),
            json!([{"hostPort": 80, "containerPort": 80, "protocol": "tcp"},
                {"hostPort": 80, "containerPort": 81, "protocol": "tcp"}]),
        ] {
            let error = pod.run(Command::Add, &host.portmap_conf(&mappings, &result)).unwrap_err();
            assert_eq!(error.code, CniError::INVALID_CONFIG, "{mappings}: {error}");
        }
        let mut conf = host.portmap_conf(&json!([]), &result);
        conf["conditionsV4"] = json!(["ip saddr 10.0.0.0/8"]);
        assert_eq!(pod.run(Command::Add, &conf).unwrap_err().code, CniError::UNSUPPORTED_FIELD);
        conf = host.portmap_conf(&json!([]), &result);
        conf.as_object_mut().unwrap().remove("prevResult");
        assert_eq!(pod.run(Command::Add, &conf).unwrap_err().code, CniError::INVALID_CONFIG);
        pod.del(&host.bridge_conf());
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn eight_pods_at_a_time_come_and_go() {
    on_host("parallel", |host| {
        let work = |thread: u16| {
            for round in 0..5 {
                let pod = host.container(&format!("pod-{thread}-{round}"));
                let port = 10000 + thread;
                let mapping = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
                let (result, conf) = attach(host, &pod, &mapping);
                pod.serve(80);
                for ip in &result.ips {
                    ask(ip.gateway.unwrap(), port).unwrap();
                }
                pod.run(Command::Check, &conf).unwrap();
                detach(host, &pod, &conf);
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || work(thread));
            }
        });
        assert_eq!(host.leftovers(), [""; 0]);
    });
}
