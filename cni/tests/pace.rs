//! A measurement, not a test: how long a pod's network takes. Run it alone and optimised:
//! `CORTEN_MEASURE=1 cargo test --release -p cni --test pace -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use cni::types::{Command, Invocation, NetnsRef};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::on_host;
use sys::netns;

const PODS: usize = 200;

struct Series(&'static str, Vec<Duration>);

impl Series {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let value = work();
        self.1.push(before.elapsed());
        value
    }

    fn at(&self, percent: usize) -> Duration {
        let mut sorted = self.1.clone();
        sorted.sort();
        sorted[(sorted.len() - 1) * percent / 100]
    }
}

#[test]
fn measure_attaching_a_pod() {
    if std::env::var_os("CORTEN_MEASURE").is_none() {
        need::skip(need::Need::Measurement, "a measurement, made where CORTEN_MEASURE is set");
        return;
    }
    on_host("pace", |host| {
        let mut conf = host.bridge_conf();
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.123.0.0/22"}]]);
        conf["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}]);
        let mut series = [
            "netns create",
            "bridge + host-local ADD",
            "portmap ADD",
            "portmap DEL",
            "bridge DEL",
            "netns remove",
            "netns + bridge + host-local",
        ]
        .map(|name| Series(name, Vec::with_capacity(PODS)));
        let [create, bridge, portmap, portmap_del, bridge_del, remove, whole] = &mut series;
        let mut pods = Vec::with_capacity(PODS);
        for n in 0..PODS {
            let begin = Instant::now();
            let path = host.dir.path().join(format!("pod{n}"));
            let inside = Arc::new(create.time(|| netns::create(&path)).unwrap());
            let mut call = Invocation {
                command: Command::Add,
                container_id: format!("{n:064x}"),
                ifname: "eth0".to_owned(),
                netns: Some(NetnsRef { path: path.clone(), handle: Some(inside), ready: None }),
                args: Vec::new(),
                path: Vec::new(),
                conf: conf.clone().try_into().unwrap(),
                skip_link_delete: true,
            };
            let result = bridge.time(|| host.plugins.run(&call)).unwrap().unwrap();
            whole.1.push(begin.elapsed());
            let mapping = json!([{"hostPort": 20000 + n, "containerPort": 80, "protocol": "tcp"}]);
            let ports = host.portmap_conf(&mapping, &result);
            call.conf = ports.try_into().unwrap();
            portmap.time(|| host.plugins.run(&call)).unwrap();
            pods.push((path, call, support::with_result(&conf, &result)));
        }
        for (path, mut call, bridge_conf) in pods {
            call.command = Command::Del;
            portmap_del.time(|| host.plugins.run(&call)).unwrap();
            call.conf = bridge_conf.try_into().unwrap();
            bridge_del.time(|| host.plugins.run(&call)).unwrap();
            drop(call);
            remove.time(|| netns::remove(&path)).unwrap();
        }
        for Series(name, times) in &series {
            let series = Series(name, times.clone());
            let [low, middle, high] = [10, 50, 90].map(|percent| series.at(percent));
            println!("{name:30} p10 {low:>8.1?} p50 {middle:>8.1?} p90 {high:>8.1?}");
        }
    });
}
