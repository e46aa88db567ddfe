//! The bridge plugin on the real kernel.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use cni::types::{CniError, Command};
use serde_json::{Value, json};
use support::{ask, gc_conf, ip, links, on_host, with_result};
use sys::netlink::{Batch, Socket, addresses, link_info};

#[test]
fn two_containers_and_the_host_reach_one_another_over_both_families() {
    on_host("reach", |host| {
        let conf = host.bridge_conf();
        let (one, two) = (host.container("one"), host.container("two"));
        let first = one.add(&conf);
        let second = two.add(&conf);
        assert_eq!(first.interfaces.len(), 3);
        assert_eq!(first.interfaces[0].name, "br-test");
        assert_eq!(first.interfaces[2].name, "eth0");
        assert_eq!(first.interfaces[2].sandbox, one.netns.path().to_str().unwrap());
        assert!(first.ips.iter().all(|ip| ip.interface == Some(2) && ip.gateway.is_some()));
        two.serve(8080);
        for at in 0..2 {
            let (from, to) = (first.ips[at].address.addr(), second.ips[at].address.addr());
            assert_eq!(one.inside(|| ask(to, 8080)).unwrap(), from.to_string());
            let gateway = second.ips[at].gateway.unwrap();
            assert_eq!(ask(to, 8080).unwrap(), gateway.to_string());
        }
        one.run(Command::Check, &with_result(&conf, &first)).unwrap();
        one.del(&conf);
        two.del(&conf);
        one.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn what_leaves_the_subnet_is_masqueraded_and_what_stays_is_not() {
    on_host("masquerade", |host| {
        let conf = host.bridge_conf();
        let pod = host.container("pod");
        pod.add(&conf);
        // A second network of the host, with a server in it that knows no route back to the pod.
        let other = json!({
            "cniVersion": "1.1.0", "name": "testnet", "type": "bridge", "bridge": "br-other", "isGateway": true,
            "ipam": {"type": "host-local", "dataDir": host.dir.path().join("other"),
                "ranges": [[{"subnet": "10.124.0.0/24"}], [{"subnet": "fd00:124::/64"}]]},
        });
        let server = host.container("server");
        let far = server.add(&other);
        server.serve(80);
        for ip in &far.ips {
            let seen = pod.inside(|| ask(ip.address.addr(), 80)).unwrap();
            assert_eq!(seen, ip.gateway.unwrap().to_string());
        }
        pod.del(&conf);
        server.del(&other);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn options_reach_the_kernel() {
    on_host("options", |host| {
        let mut conf = host.bridge_conf();
        conf["mtu"] = json!(1400);
        conf["portIsolation"] = json!(true);
        conf["isDefaultGateway"] = json!(true);
        conf["dns"] = json!({"nameservers": ["10.0.0.53"]});
        conf["runtimeConfig"] = json!({"mac": "0a:00:00:00:00:07"});
        conf["ipam"]["routes"] = json!([{"dst": "10.200.0.0/16", "mtu": 1300, "priority": 7}]);
        let pod = host.container("pod");
        let result = pod.add(&conf);
        assert_eq!(result.interfaces[2].mac, "0a:00:00:00:00:07");
        assert_eq!(result.dns.nameservers, ["10.0.0.53"]);
        assert_eq!(result.routes.len(), 3);
        let mut batch = Batch::new();
        let link = link_info(&pod.netns.rtnl().run(batch.get_link("eth0")).unwrap()).unwrap();
        assert_eq!((link.mtu, link.mac.unwrap().to_string()), (1400, "0a:00:00:00:00:07".to_owned()));
        let port = format!("/sys/class/net/{}/brport", result.interfaces[1].name);
        // sysfs shows the namespace in which it was mounted, so the kernel is asked by a command.
        let shown = std::process::Command::new("ip")
            .args(["-d", "link", "show", &result.interfaces[1].name])
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("hairpin on") && shown.contains("isolated on"), "{port}: {shown}");
        pod.run(Command::Check, &with_result(&conf, &result)).unwrap();
        pod.del(&conf);
    });
}

#[test]
fn a_container_cannot_send_with_anothers_hardware_address() {
    on_host("spoof", |host| {
        let mut conf = host.bridge_conf();
        conf["macspoofchk"] = json!(true);
        let pod = host.container("pod");
        let result = pod.add(&conf);
        pod.serve(80);
        let address = result.ips[0].address.addr();
        ask(address, 80).unwrap();
        let mut batch = Batch::new();
        let link = link_info(&pod.netns.rtnl().run(batch.get_link("eth0")).unwrap()).unwrap();
        let mut batch = Batch::new();
        let other = sys::netlink::Mac([0x0a, 0, 0, 0, 0, 9]);
        pod.netns.rtnl().run(batch.set_mac("eth0", link.index, other)).unwrap();
        assert!(ask(address, 80).is_err());
        pod.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn check_sees_damage() {
    on_host("check", |host| {
        let conf = host.bridge_conf();
        let pod = host.container("pod");
        let result = pod.add(&conf);
        let check = with_result(&conf, &result);
        pod.run(Command::Check, &check).unwrap();

        let damage = |command: &[&str]| {
            let status = std::process::Command::new(command[0]).args(&command[1..]).status().unwrap();
            assert!(status.success(), "{command:?}");
        };
        let broken = |part: &str| {
            let error = pod.run(Command::Check, &check).unwrap_err();
            assert!(error.msg.contains(part), "{part}: {error}");
        };
        damage(&["nft", "flush", "map", "inet", "corten_masquerade", "source4"]);
        broken("source4");
        damage(&["ip", "link", "set", &result.interfaces[1].name, "nomaster"]);
        broken("no port of bridge");
        pod.inside(|| damage(&["ip", "route", "del", "default"]));
        pod.inside(|| damage(&["ip", "addr", "flush", "dev", "eth0"]));
        broken("no port of bridge");
        damage(&["ip", "link", "set", &result.interfaces[1].name, "master", "br-test"]);
        broken("is not on eth0");
        pod.inside(|| damage(&["ip", "link", "set", "eth0", "down"]));
        broken("is down");
        std::fs::remove_file(host.ipam_dir().join("testnet/10.123.0.2")).unwrap();
        std::fs::remove_file(host.ipam_dir().join("testnet/fd00:123::2")).unwrap();
        broken("no address");
        pod.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn a_failed_add_leaves_nothing() {
    on_host("failure", |host| {
        let mut conf = host.bridge_conf();
        conf["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "192.0.2.1"}]);
        let pod = host.container("pod");
        let error = pod.run(Command::Add, &conf).unwrap_err();
        assert!(error.msg.contains("add route 10.99.0.0/16"), "{error}");
        assert_eq!(host.leftovers(), [""; 0]);

        let mut conf = host.bridge_conf();
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.123.0.0/24"}], [{"subnet": "fd00:123::1/64"}]]);
        assert_eq!(pod.run(Command::Add, &conf).unwrap_err().code, CniError::INVALID_CONFIG);
        assert_eq!(host.leftovers(), [""; 0]);

        let conf = host.bridge_conf();
        let result = pod.add(&conf);
        let again = pod.run(Command::Add, &conf).unwrap_err();
        assert!(again.msg.contains("attached already"), "{again}");
        pod.run(Command::Check, &with_result(&conf, &result)).unwrap();
        pod.del(&conf);

        for (field, value, code) in [
            ("vlan", json!(5), CniError::UNSUPPORTED_FIELD),
            ("ipMasqBackend", json!("iptables"), CniError::UNSUPPORTED_FIELD),
            ("promiscMode", json!(true), CniError::INVALID_CONFIG),
            ("mtu", json!(-1), CniError::INVALID_CONFIG),
            ("bridge", json!("a/b"), CniError::INVALID_CONFIG),
            ("bridge", json!("lo"), CniError::INVALID_CONFIG),
            ("isGateway", json!("yes"), CniError::DECODING_FAILURE),
        ] {
            let mut conf = host.bridge_conf();
            conf[field] = value;
            let error = pod.run(Command::Add, &conf).unwrap_err();
            assert_eq!(error.code, code, "{field}: {error}");
        }
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn the_bridge_is_found_made_and_healed() {
    on_host("bridge", |host| {
        let conf = host.bridge_conf();
        let add_and_ask = |id: &str| {
            let pod = host.container(id);
            let result = pod.add(&conf);
            pod.serve(80);
            ask(result.ips[0].address.addr(), 80).unwrap();
            ask(result.ips[1].address.addr(), 80).unwrap();
            pod.del(&conf);
        };
        add_and_ask("first");
        let route = Socket::route().unwrap();
        let mut batch = Batch::new();
        route.run(batch.delete_link("br-test")).unwrap();
        add_and_ask("second");
        let mut batch = Batch::new();
        let bridge = link_info(&route.run(batch.get_link("br-test")).unwrap()).unwrap();
        let mut batch = Batch::new();
        let gateway = sys::netlink::Address { ip: ip("10.123.0.1"), prefix: 24 };
        route.run(batch.delete_address("br-test", bridge.index, gateway)).unwrap();
        add_and_ask("third");
        let status = std::process::Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        assert!(status.success());
        add_and_ask("fourth");

        // Another address is in the way, until it may be removed.
        let mut other = conf.clone();
        other["name"] = json!("othernet");
        other["ipam"]["ranges"] = json!([[{"subnet": "10.125.0.0/24"}]]);
        other["ipam"]["routes"] = json!([]);
        let pod = host.container("fifth");
        let error = pod.run(Command::Add, &other).unwrap_err();
        let said = ["has the address 10.123.0.1/24", "ip link del br-test"]
            .iter()
            .all(|words| error.msg.contains(words));
        assert!(said, "{error}");
        other["forceAddress"] = json!(true);
        pod.add(&other);
        let mut batch = Batch::new();
        let found = addresses(&route.run(batch.get_addresses()).unwrap());
        let mut v4 = found.iter().filter(|a| a.index == bridge.index && a.address.ip.is_ipv4());
        assert_eq!(v4.next().unwrap().address.ip, ip("10.125.0.1"));
        assert!(v4.next().is_none());
        pod.del(&other);
    });
}

#[test]
fn del_needs_no_namespace_and_can_leave_the_links_to_it() {
    on_host("del", |host| {
        let conf = host.bridge_conf();
        let pod = host.container("pod");
        pod.add(&conf);
        let mut call = pod.call(Command::Del, &conf);
        call.skip_link_delete = true;
        host.plugins.run(&call).unwrap();
        assert_eq!(host.leftovers().len(), 1, "the veth is left to the namespace");
        let mut call = pod.call(Command::Del, &conf);
        call.netns = None;
        host.plugins.run(&call).unwrap();
        assert_eq!(host.leftovers(), [""; 0]);
        let mut call = pod.call(Command::Del, &conf);
        call.netns = Some(cni::types::NetnsRef::new("/nowhere"));
        host.plugins.run(&call).unwrap();
    });
}

#[test]
fn gc_removes_what_is_not_valid() {
    on_host("gc", |host| {
        let conf = host.bridge_conf();
        let pods = ["one", "two", "three"].map(|id| host.container(id));
        for pod in &pods {
            pod.add(&conf);
        }
        host.plugins.run(&pods[0].call(Command::Gc, &gc_conf(&conf, &["two"]))).unwrap();
        assert_eq!(host.reserved(), ["10.123.0.3", "fd00:123::3"]);
        let left = host.leftovers();
        assert_eq!(left.iter().filter(|left| left.starts_with("source")).count(), 2, "{left:?}");
        for pod in &pods {
            pod.del(&conf);
        }
        assert_eq!(host.leftovers(), [""; 0]);
    });
}

#[test]
fn gc_removes_the_chains_of_subnets_that_nobody_has() {
    on_host("prune", |host| {
        let chains = || {
            let socket = Socket::netfilter().unwrap();
            let rules = sys::nft::rules(&socket, sys::nft::Family::Inet, "corten_masquerade").unwrap();
            rules.into_iter().filter(|chain| chain.starts_with("outside_")).collect::<Vec<_>>()
        };
        let mut other = host.bridge_conf();
        other["name"] = "othernet".into();
        other["bridge"] = "br-other".into();
        other["ipam"]["ranges"] = json!([[{"subnet": "10.124.0.0/24"}]]);
        let conf = host.bridge_conf();
        let (stays, goes) = (host.container("stays"), host.container("goes"));
        stays.add(&conf);
        goes.add(&other);
        goes.del(&other);
        assert_eq!(chains().len(), 3, "{:?}", chains());
        host.plugins.run(&stays.call(Command::Gc, &gc_conf(&conf, &["stays"]))).unwrap();
        let mut left = chains();
        left.sort();
        assert_eq!(left, ["outside_10.123.0.0/24", "outside_fd00_123__/64"]);
        // Who comes back gets it anew.
        let result = goes.add(&other);
        goes.run(Command::Check, &with_result(&other, &result)).unwrap();
        assert_eq!(chains().len(), 3);
        goes.del(&other);
        stays.del(&conf);
        host.plugins.run(&stays.call(Command::Gc, &gc_conf(&conf, &[]))).unwrap();
        assert_eq!(chains(), [""; 0]);
    });
}

#[test]
fn without_ipam_the_interface_is_only_brought_up_or_not_even_that() {
    on_host("layer2", |host| {
        let conf = |down: bool| -> Value {
            json!({"cniVersion": "1.0.0", "name": "testnet", "type": "bridge", "bridge": "br-test",
                "disableContainerInterface": down})
        };
        for (id, down) in [("up", false), ("down", true)] {
            let pod = host.container(id);
            let result = pod.add(&conf(down));
            assert!(result.ips.is_empty());
            let mut batch = Batch::new();
            let link = link_info(&pod.netns.rtnl().run(batch.get_link("eth0")).unwrap()).unwrap();
            assert_eq!(link.up, !down);
            pod.run(Command::Check, &with_result(&conf(down), &result)).unwrap();
            pod.del(&conf(down));
        }
        assert!(links().iter().all(|link| !link.starts_with("veth")));
    });
}

#[test]
fn duplicates_are_looked_for_where_it_is_wanted() {
    on_host("dad", |host| {
        let mut conf = host.bridge_conf();
        conf["enabledad"] = json!(true);
        let pod = host.container("pod");
        let before = std::time::Instant::now();
        let result = pod.add(&conf);
        assert!(before.elapsed() > std::time::Duration::from_millis(500));
        pod.serve(80);
        ask(result.ips[1].address.addr(), 80).unwrap();
        pod.del(&conf);
    });
}

#[test]
fn a_configuration_that_add_refused_can_be_deleted() {
    on_host("refused-del", |host| {
        let pod = host.container("pod");
        for (key, value) in [
            ("promiscMode", json!(true)),
            ("mtu", json!("9001")),
            ("mtu", json!(-1)),
            ("vlan", json!(7)),
            ("bridge", json!("a name that is too long")),
            ("ipMasqBackend", json!("iptables")),
            ("dns", json!(5)),
        ] {
            // As if an earlier version of the plugin had taken it.
            let result = pod.add(&host.bridge_conf());
            let mut bad = with_result(&host.bridge_conf(), &result);
            bad[key] = value;
            cni::validate(&pod.call(Command::Add, &bad)).unwrap_err();
            pod.run(Command::Add, &bad).unwrap_err();
            pod.del(&bad);
            assert_eq!(host.leftovers(), [""; 0], "{bad}");
        }
        for (key, value) in [("ranges", json!([])), ("ranges", json!("x")), ("routes", json!([{"dst": 1}]))] {
            let result = pod.add(&host.bridge_conf());
            let mut bad = with_result(&host.bridge_conf(), &result);
            bad["ipam"][key] = value;
            cni::validate(&pod.call(Command::Add, &bad)).unwrap_err();
            pod.del(&bad);
            assert_eq!(host.leftovers(), [""; 0], "{bad}");
        }
        // Ranges that come with each call cannot be there before.
        let mut late = host.bridge_conf();
        late["ipam"]["ranges"] = json!(null);
        cni::validate(&pod.call(Command::Add, &late)).unwrap_err();
        late["capabilities"] = json!({"ipRanges": true});
        cni::validate(&pod.call(Command::Add, &late)).unwrap();
        pod.run(Command::Status, &late).unwrap();
    });
}
