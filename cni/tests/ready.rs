//! Interfaces that the bridge plugin makes before anybody asks for them.
#![allow(clippy::unwrap_used)]

mod support;

use cni::types::{CniResult, Command, Invocation};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Container, Host, ask, links, on_host, with_result};
use sys::netlink::{Batch, LinkInfo, Socket, addresses, link_info};

/// What is at an interface of the host.
fn shown(name: &str) -> Option<LinkInfo> {
    let mut batch = Batch::new();
    link_info(&Socket::route().unwrap().run(batch.get_link(name)).ok()?)
}

/// Makes what can be made for an ADD to come, and leaves it in the call.
fn prepared(container: &Container, host: &Host, conf: &Value) -> (Invocation, bool) {
    let mut call = container.call(Command::Add, conf);
    let ready = host.plugins.prepare(&call).unwrap().map(Arc::new);
    let is_made = ready.is_some();
    call.netns.as_mut().unwrap().ready = ready;
    (call, is_made)
}

fn ports() -> Vec<String> {
    links().into_iter().filter(|link| link.starts_with("veth")).collect()
}

fn add(host: &Host, call: &Invocation) -> CniResult {
    host.plugins.run(call).unwrap().unwrap()
}

#[test]
fn an_attachment_takes_what_was_made_for_it() {
    on_host("taken", |host| {
        let conf = host.bridge_conf();
        let (first, pod) = (host.container("first"), host.container("pod"));
        assert!(!prepared(&first, host, &conf).1, "nobody has used the bridge");
        assert!(!links().contains(&"br-test".to_owned()));
        first.add(&conf);
        let (call, is_made) = prepared(&pod, host, &conf);
        assert!(is_made);
        let waiting: Vec<_> =
            ports().into_iter().filter(|port| shown(port).unwrap().alias == cni::READY).collect();
        let [port] = &waiting[..] else { panic!("{waiting:?}") };
        let before = shown(port).unwrap();
        assert!(before.up && before.master == shown("br-test").map(|bridge| bridge.index));

        let result = add(host, &call);
        assert_eq!(&result.interfaces[1].name, port);
        let after = shown(port).unwrap();
        assert_eq!((after.index, after.mac, after.alias.as_str()), (before.index, before.mac, ""));
        pod.serve(8080);
        for ip in &result.ips {
            assert_eq!(ask(ip.address.addr(), 8080).unwrap(), ip.gateway.unwrap().to_string());
            let own = ip.address.addr();
            assert_eq!(
                first.inside(|| ask(own, 8080)).unwrap().parse::<std::net::IpAddr>().unwrap().is_ipv4(),
                own.is_ipv4()
            );
        }
        pod.run(Command::Check, &with_result(&conf, &result)).unwrap();
        pod.del(&conf);
        first.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

/// A configuration by its name, and what its interfaces must be: the host's and the pod's.
type Case = (&'static str, Value, fn(&LinkInfo, &LinkInfo));

#[test]
fn what_was_made_otherwise_or_is_gone_is_made_when_it_is_needed() {
    on_host("otherwise", |host| {
        let conf = host.bridge_conf();
        let first = host.container("first");
        first.add(&conf);
        let changed = |key: &str, value: Value| {
            let mut conf = conf.clone();
            conf[key] = value;
            conf
        };
        let mac = json!({"mac": "0a:00:00:00:00:07"});
        let mut other = changed("bridge", json!("br-other"));
        other["ipam"]["ranges"] = json!([[{"subnet": "10.124.0.0/24"}]]);
        let cases: [Case; 3] = [
            ("mtu", changed("mtu", json!(1400)), |port, _| assert_eq!(port.mtu, 1400)),
            ("mac", changed("runtimeConfig", mac), |_, own| {
                assert_eq!(own.mac.unwrap().to_string(), "0a:00:00:00:00:07");
            }),
            ("bridge", other, |port, _| {
                assert_eq!(port.master, shown("br-other").map(|bridge| bridge.index));
            }),
        ];
        for (name, wanted, is_right) in cases {
            let pod = host.container(name);
            let (mut call, is_made) = prepared(&pod, host, &conf);
            assert!(is_made, "{name}");
            call.conf = pod.call(Command::Add, &wanted).conf;
            let result = add(host, &call);
            let own = pod.netns.rtnl().run(Batch::new().get_link("eth0")).unwrap();
            is_right(&shown(&result.interfaces[1].name).unwrap(), &link_info(&own).unwrap());
            assert_eq!(ports().len(), 2, "{name}: {:?}", ports());
            pod.run(Command::Check, &with_result(&wanted, &result)).unwrap();
            pod.del(&wanted);
        }

        let pod = host.container("gone");
        let (call, _) = prepared(&pod, host, &conf);
        let port = ports().into_iter().find(|port| shown(port).unwrap().alias == cni::READY).unwrap();
        Socket::route().unwrap().run(Batch::new().delete_link(&port)).unwrap();
        assert_eq!(add(host, &call).interfaces[1].name, port);
        // Somebody has taken the bridge away under the next, and with it the first one's port.
        let next = host.container("next");
        let (call, is_made) = prepared(&next, host, &conf);
        assert!(is_made);
        Socket::route().unwrap().run(Batch::new().delete_link("br-test")).unwrap();
        let result = add(host, &call);
        let port = shown(&result.interfaces[1].name).unwrap();
        assert_eq!(port.master, shown("br-test").map(|bridge| bridge.index));
        for container in [&pod, &next, &first] {
            container.del(&conf);
        }
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

/// The IPv6 addresses of the interface inside.
fn ipv6_of(container: &Container) -> Vec<std::net::IpAddr> {
    let socket = container.netns.rtnl();
    let own = link_info(&socket.run(Batch::new().get_link("eth0")).unwrap()).unwrap();
    let found = addresses(&socket.run(Batch::new().get_addresses()).unwrap());
    let found = found.into_iter().filter(|found| found.index == own.index).map(|found| found.address.ip);
    found.filter(std::net::IpAddr::is_ipv6).collect()
}

#[test]
fn an_interface_without_an_ipv6_address_of_the_network_has_none_at_all() {
    on_host("ipv6", |host| {
        let dual = host.bridge_conf();
        let mut ipv4 = dual.clone();
        ipv4["ipam"]["ranges"] = json!([[{"subnet": "10.123.0.0/24"}]]);
        let cold = host.container("cold");
        cold.add(&ipv4);
        assert_eq!(ipv6_of(&cold), [] as [std::net::IpAddr; 0]);
        let warm = host.container("warm");
        let (call, _) = prepared(&warm, host, &ipv4);
        assert_eq!(ipv6_of(&warm), [] as [std::net::IpAddr; 0]);
        add(host, &call);
        assert_eq!(ipv6_of(&warm), [] as [std::net::IpAddr; 0]);
        // By other ranges it would have one: it is made anew.
        let other = host.container("other");
        let (mut call, _) = prepared(&other, host, &ipv4);
        call.conf = other.call(Command::Add, &dual).conf;
        let result = add(host, &call);
        let given = result.ips.iter().map(|ip| ip.address.addr()).find(std::net::IpAddr::is_ipv6).unwrap();
        let own = ipv6_of(&other);
        assert!(own.contains(&given) && own.len() == 2, "{own:?}");
    });
}

#[test]
fn a_failed_attachment_leaves_nothing_of_it() {
    on_host("failed", |host| {
        let conf = host.bridge_conf();
        let first = host.container("first");
        first.add(&conf);
        let pod = host.container("pod");
        let (mut call, is_made) = prepared(&pod, host, &conf);
        assert!(is_made);
        let mut full = conf.clone();
        full["ipam"]["ranges"] =
            json!([[{"subnet": "10.123.0.0/30", "rangeStart": "10.123.0.2", "rangeEnd": "10.123.0.2"}]]);
        call.conf = pod.call(Command::Add, &full).conf;
        let held = ports().len();
        host.plugins.run(&call).unwrap_err();
        assert_eq!(ports().len(), held - 1, "{:?}", ports());
    });
}
