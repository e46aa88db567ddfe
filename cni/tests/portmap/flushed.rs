//! Rules that somebody has flushed.

use crate::support::{self, ask, ip, on_host};
use cni::types::Command;
use serde_json::json;

#[test]
fn what_keeps_loopback_inside_is_made_again_without_any_host_port() {
    on_host("open", |host| {
        let (ports, other) = (host.container("ports"), host.container("other"));
        let result = ports.add(&host.bridge_conf());
        let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let conf = host.portmap_conf(&mapping, &result);
        ports.add(&conf);
        host.plugins.run(&ports.call(Command::Del, &conf)).unwrap();
        let bridge = support::with_result(&host.bridge_conf(), &other.add(&host.bridge_conf()));
        let calls = [other.call(Command::Check, &bridge)];
        let status = std::process::Command::new("nft").args(["flush", "ruleset"]).status();
        if status.is_err() {
            need::skip(need::Need::Tools, "needs nft");
            return;
        }
        assert!(host.plugins.heal(calls.iter().cloned()).unwrap());
        let list = ["list", "chain", "inet", "corten_hostport", "loopback"];
        let told = std::process::Command::new("nft").args(list).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&told.stdout).matches("drop").count(), 2, "{told:?}");
        assert!(!host.plugins.heal(calls.iter().cloned()).unwrap(), "nothing is missing");
    });
}

#[test]
fn what_somebody_has_flushed_is_made_again() {
    on_host("flushed", |host| {
        let pods = ["one", "two"].map(|id| host.container(id));
        let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let mut bridge = host.bridge_conf();
        bridge["macspoofchk"] = json!(true);
        let mut calls = Vec::new();
        for pod in &pods {
            let result = pod.add(&bridge);
            let conf = host.portmap_conf(&mapping, &result);
            pod.add(&conf);
            pod.serve(80);
            let bridge = support::with_result(&bridge, &result);
            calls.extend([&bridge, &conf].map(|conf| pod.call(Command::Check, conf)));
        }
        let answers = || ask(ip("10.123.0.1"), 8080).is_ok() && ask(ip("127.0.0.1"), 8080).is_ok();
        assert!(answers() && !host.plugins.heal(calls.iter().cloned()).unwrap(), "nothing is missing");
        let everything = host.leftovers();
        for flush in [
            &["flush", "ruleset"][..],
            &["flush", "table", "inet", "corten_hostport"],
            &["flush", "table", "inet", "corten_masquerade"],
            &["flush", "chain", "inet", "corten_hostport", "loopback"],
            &["delete", "table", "bridge", "corten_macspoofchk"],
            &["flush", "map", "inet", "corten_hostport", "port4"],
        ] {
            let status = std::process::Command::new("nft").args(flush).status();
            let Ok(status) = status else {
                need::skip(need::Need::Tools, "needs nft");
                return;
            };
            assert!(status.success(), "nft {flush:?}");
            assert!(host.plugins.heal(calls.iter().cloned()).unwrap(), "{flush:?} is seen");
            assert!(!host.plugins.heal(calls.iter().cloned()).unwrap(), "{flush:?} is healed");
            for call in &calls {
                host.plugins.run(call).unwrap();
            }
            assert!(answers());
            let same = |mut all: Vec<String>| {
                all.sort();
                all
            };
            assert_eq!(same(host.leftovers()), same(everything.clone()), "{flush:?}");
        }
    });
}
