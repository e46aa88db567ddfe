//! What the bridge plugin sees to on the host.
#![allow(clippy::unwrap_used)]

mod support;

use support::on_host;

#[test]
fn the_host_forwards_and_does_so_again_when_somebody_has_turned_it_off() {
    on_host("forward", |host| {
        let forwarding = |value: &str| std::fs::write("/proc/sys/net/ipv4/ip_forward", value).unwrap();
        let forwards = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim() == "1";
        forwarding("0");
        let conf = host.bridge_conf();
        let (first, second) = (host.container("first"), host.container("second"));
        first.add(&conf);
        assert!(forwards());
        forwarding("0");
        // Pods that come close behind one another do not look each time.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        second.add(&conf);
        assert!(forwards());
        first.del(&conf);
        second.del(&conf);
    });
}
