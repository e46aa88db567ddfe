//! Who hears of a container's address, and who has to.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Container, Host, ask, on_host};
use sys::netlink::{Batch, Mac, link_info};

/// A network whose second address is the only one that is left for anybody but the first container.
fn two_addresses(host: &Host) -> Value {
    let mut conf = host.bridge_conf();
    conf["ipam"]["ranges"] =
        json!([[{"subnet": "10.123.0.0/24", "rangeStart": "10.123.0.2", "rangeEnd": "10.123.0.3"}]]);
    conf["ipam"]["routes"] = json!([]);
    conf
}

fn ip(command: &str) {
    let status = Command::new("ip").args(command.split(' ')).status().unwrap();
    assert!(status.success(), "ip {command}");
}

/// Counts in a container what comes to it of ARP, and of packets for other containers.
fn listen(container: &Container) {
    let rules = "add table netdev heard; \
                 add chain netdev heard in { type filter hook ingress device eth0 priority 0; }; \
                 add rule netdev heard in ether type arp counter; \
                 add rule netdev heard in ip daddr 10.123.0.3 counter";
    let status = container.inside(|| Command::new("nft").arg(rules).status().unwrap());
    assert!(status.success());
}

fn heard(container: &Container) -> Vec<u64> {
    let output = container.inside(|| Command::new("nft").args(["list", "ruleset"]).output().unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    let counters = text.lines().filter_map(|line| line.split_once("counter packets "));
    counters.map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// As [`heard`], once all that was sent has come.
fn heard_at_rest(container: &Container) -> Vec<u64> {
    let mut last = heard(container);
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = heard(container);
        if std::mem::replace(&mut last, now.clone()) == now {
            return now;
        }
    }
}

/// How much of ARP comes to a neighbour from an ADD, whose address is returned.
fn told(neighbour: &Container, newcomer: &Container, conf: &Value) -> (u64, IpAddr) {
    let before = heard_at_rest(neighbour);
    let result = newcomer.add(conf);
    (heard_at_rest(neighbour)[0] - before[0], result.ips[0].address.addr())
}

#[test]
fn the_next_owner_of_an_address_is_found_and_nobody_is_told() {
    on_host("next-owner", |host| {
        let conf = two_addresses(host);
        let neighbour = host.container("neighbour");
        neighbour.add(&conf);
        listen(&neighbour);
        let mut seen = Vec::new();
        for id in ["one", "two", "three"] {
            let pod = host.container(id);
            let (packets, address) = told(&neighbour, &pod, &conf);
            assert_eq!(packets, 0, "{id}");
            pod.serve(80);
            // What the neighbour knows of the address is right, and the host's first packet finds its port.
            let begin = Instant::now();
            neighbour.inside(|| ask(address, 80)).unwrap();
            ask(address, 80).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(2), "{id}: {:?}", begin.elapsed());
            seen.push(address);
            pod.del(&conf);
        }
        assert_eq!(seen, [seen[0]; 3]);
        neighbour.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn the_first_packet_to_an_address_goes_to_its_port_alone() {
    on_host("first-packet", |host| {
        let conf = two_addresses(host);
        let (neighbour, pod) = (host.container("neighbour"), host.container("pod"));
        neighbour.add(&conf);
        listen(&neighbour);
        let (_, address) = told(&neighbour, &pod, &conf);
        pod.serve(80);
        let before = heard_at_rest(&neighbour);
        ask(address, 80).unwrap();
        // The pod looks for the host once; nothing else is the neighbour's business.
        assert_eq!(heard_at_rest(&neighbour)[1], before[1]);
    });
}

#[test]
fn whoever_may_know_an_address_otherwise_is_told() {
    // A name, what there is before anybody is attached, what happens then, and what the second one's configuration says.
    type Case = (&'static str, fn(), fn(), fn(&mut Value));
    let cases: [Case; 4] = [
        (
            "by-another-address",
            || {},
            || ip("neigh replace 10.123.0.3 lladdr 02:00:00:00:00:09 dev br-test nud stale"),
            |_| {},
        ),
        (
            "behind-another-port",
            || {
                ip("link add br-test type bridge");
                ip("link add outside0 type vxlan id 7 dstport 4789");
                ip("link set outside0 master br-test up");
            },
            || {},
            |_| {},
        ),
        (
            "by-a-second-address",
            || {},
            || {},
            |conf| {
                let ranges = conf["ipam"]["ranges"].as_array_mut().unwrap();
                ranges.push(json!([{"subnet": "10.124.0.0/24"}]));
            },
        ),
        (
            "by-one-of-its-own",
            || {},
            || {},
            |conf| {
                conf["runtimeConfig"] = json!({"mac": "0a:00:00:00:00:07"});
            },
        ),
    ];
    for (name, early, late, adjust) in cases {
        on_host(name, |host| {
            let mut conf = two_addresses(host);
            let (neighbour, pod) = (host.container("neighbour"), host.container("pod"));
            early();
            neighbour.add(&conf);
            listen(&neighbour);
            late();
            adjust(&mut conf);
            let (packets, address) = told(&neighbour, &pod, &conf);
            assert!(packets > 0, "{name}");
            pod.serve(80);
            neighbour.inside(|| ask(address, 80)).unwrap();
        });
    }
}

#[test]
fn a_hardware_address_is_that_of_the_ipv4_address() {
    on_host("hardware", |host| {
        let conf = host.bridge_conf();
        let mut six = host.bridge_conf();
        six["ipam"]["ranges"] = json!([[{"subnet": "fd00:123::/64"}]]);
        six["ipam"]["routes"] = json!([]);
        for (id, conf, is_given) in [("both", &conf, true), ("six", &six, false)] {
            let pod = host.container(id);
            let result = pod.add(conf);
            let mut batch = Batch::new();
            let found = link_info(&pod.netns.rtnl().run(batch.get_link("eth0")).unwrap()).unwrap();
            assert_eq!(found.mac, Mac::parse(&result.interfaces[2].mac), "{id}");
            let of = |ip| if let IpAddr::V4(ip) = ip { Some(Mac::of_ipv4(ip)) } else { None };
            let own = result.ips.iter().find_map(|ip| of(ip.address.addr()));
            assert_eq!(own.is_some(), is_given);
            assert!(own.is_none_or(|own| found.mac == Some(own)), "{id}: {found:?}");
            pod.run(cni::types::Command::Check, &support::with_result(conf, &result)).unwrap();
        }
    });
}

/// A bridge that speaks the spanning tree protocol opens a port after a while, and learns nothing of it until then.
#[test]
fn a_port_that_is_not_open_yet_is_attached() {
    on_host("spanning-tree", |host| {
        let conf = two_addresses(host);
        let (neighbour, pod) = (host.container("neighbour"), host.container("pod"));
        neighbour.add(&conf);
        ip("link set br-test type bridge stp_state 1 forward_delay 400");
        let result = pod.add(&conf);
        pod.run(cni::types::Command::Check, &support::with_result(&conf, &result)).unwrap();
        pod.del(&conf);
        neighbour.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}
