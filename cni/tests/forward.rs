//! What the bridge plugin sees to on the host, and what it meets there.
#![allow(clippy::unwrap_used)]

mod support;

use cni::types::{CniError, Command};
use support::{links, on_host};

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

#[test]
fn a_bridge_that_is_full_takes_the_next_one_later() {
    on_host("full", |host| {
        let conf = host.bridge_conf();
        let (first, late) = (host.container("first"), host.container("late"));
        first.add(&conf);
        let pairs = (0..512).map(|number| {
            format!(
                "link add a{number} master br-test type veth peer name b{number}\n\
                 link set b{number} master br-test\n"
            )
        });
        let file = host.dir.path().join("pairs");
        std::fs::write(&file, pairs.collect::<String>()).unwrap();
        // The last ones do not fit.
        std::process::Command::new("ip").arg("-force").arg("-batch").arg(&file).output().unwrap();
        let error = late.run(Command::Add, &conf).unwrap_err();
        assert_eq!(error.code, CniError::TRY_AGAIN_LATER, "{error}");
        assert!(error.msg.contains("br-test is full"), "{error}");
        assert_eq!(links().iter().filter(|link| link.starts_with("veth")).count(), 1);
        first.del(&conf);
        late.add(&conf);
        late.del(&conf);
        assert_eq!(host.leftovers(), [""; 0]);
    });
}
