//! With two namespaces, of which one is the host's for the thread of the test.
#![allow(clippy::unwrap_used)]

use super::*;
use std::path::PathBuf;

struct World {
    dir: tempfile::TempDir,
    host: Netns,
    pod: Netns,
}

impl Drop for World {
    fn drop(&mut self) {
        // Pinned, they would keep the directory, and be mounts of the host's, for ever.
        for pinned in [&self.host, &self.pod] {
            let _ = sys::netns::remove(pinned.path());
        }
    }
}

impl World {
    fn new() -> Option<Self> {
        if !need::root("needs root") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| sys::netns::create(&dir.path().join(name)).unwrap();
        let (host, pod) = (make("host"), make("pod"));
        Some(Self { host, pod, dir })
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("devices.json")
    }

    /// Does something as the daemon does, in the host's namespace.
    fn on_host<T>(&self, work: impl FnOnce(Devices<'_>) -> T) -> T {
        let journal = self.journal();
        let devices = Devices { journal: &journal, netns: self.pod.path() };
        sys::netns::run_in(self.host.fd(), || work(devices)).unwrap()
    }

    fn take(&self, container: &str, names: (&str, &str)) -> std::result::Result<(), String> {
        self.on_host(|devices| {
            devices.take(container, names, |dead| dead == "dead").map_err(|error| error.to_string())
        })
    }

    /// Makes a device with two addresses that stay, and one of its own network alone.
    fn device(&self, name: &str) {
        self.ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("peer-{name}")]);
        for address in ["192.0.2.7/24", "2001:db8::7/64"] {
            self.ip(&["addr", "add", address, "dev", name]);
        }
        self.ip(&["addr", "add", "198.51.100.8/24", "dev", name, "scope", "link"]);
        self.ip(&["link", "set", name, "up"]);
    }

    fn ip(&self, arguments: &[&str]) {
        let run = || std::process::Command::new("ip").args(arguments).status().unwrap();
        assert!(sys::netns::run_in(self.host.fd(), run).unwrap().success(), "ip {arguments:?}");
    }
}

/// Whether a device is up, its address of hardware, and those that stay.
type Seen = (bool, [u8; 6], Vec<(IpAddr, u8)>);

/// `None` where there is none.
fn seen(namespace: &Netns, name: &str) -> Option<Seen> {
    let link = find(namespace.rtnl(), name).unwrap()?;
    let mut addresses = lasting(namespace.rtnl(), link.index).unwrap();
    addresses.sort();
    Some((link.up, link.mac.unwrap().0, addresses))
}

#[test]
fn a_device_moves_with_its_addresses_and_comes_back_as_it_was() {
    let Some(world) = World::new() else { return };
    world.device("eth7");
    let before = seen(&world.host, "eth7").unwrap();
    assert_eq!((before.0, before.2.len()), (true, 2));
    world.take("one", ("eth7", "data")).unwrap();
    assert_eq!(seen(&world.host, "eth7"), None);
    assert_eq!(seen(&world.pod, "data").unwrap(), before);
    assert!(world.journal().exists());
    // Another's, and nobody's.
    world.on_host(|devices| devices.give_back(Some("two"))).unwrap();
    assert!(seen(&world.pod, "data").is_some());
    for _ in 0..2 {
        world.on_host(|devices| devices.give_back(Some("one"))).unwrap();
        assert_eq!(seen(&world.host, "eth7").unwrap(), before);
        assert!(seen(&world.pod, "data").is_none() && !world.journal().exists());
    }
}

#[test]
fn what_cannot_move_stays_and_nothing_else_is_touched() {
    let Some(world) = World::new() else { return };
    world.device("eth7");
    world.device("eth8");
    let error = world.take("one", ("eth9", "data")).unwrap_err();
    assert!(error.contains("eth9"), "{error}");
    world.take("one", ("eth7", "data")).unwrap();
    let error = world.take("two", ("eth8", "data")).unwrap_err();
    assert!(error.contains("data"), "{error}");
    assert!(seen(&world.host, "eth8").is_some());
    world.on_host(|devices| devices.give_back(Some("two"))).unwrap();
    assert!(seen(&world.pod, "data").is_some(), "it is the first one's");
}

#[test]
fn a_journal_of_what_has_not_moved_yet_moves_nothing() {
    let Some(world) = World::new() else { return };
    world.device("eth7");
    let other = Held {
        container: "one".to_owned(),
        host: "eth7".to_owned(),
        inside: "lo".to_owned(),
        mac: Some([2; 6]),
        up: true,
        addresses: Vec::new(),
    };
    world.on_host(|devices| devices.write(&[other])).unwrap();
    world.on_host(|devices| devices.give_back(None)).unwrap();
    assert!(seen(&world.host, "eth7").is_some() && find(world.pod.rtnl(), "lo").unwrap().is_some());
    assert!(!world.journal().exists());
}

#[test]
fn the_device_of_a_dead_container_is_its_successors_and_a_taken_name_keeps_none_from_coming_back() {
    let Some(world) = World::new() else { return };
    world.device("eth7");
    let before = seen(&world.host, "eth7").unwrap();
    world.take("dead", ("eth7", "data")).unwrap();
    world.take("new", ("eth7", "other")).unwrap();
    assert_eq!((seen(&world.pod, "data"), seen(&world.pod, "other")), (None, Some(before.clone())));
    let error = world.take("third", ("eth7", "more")).unwrap_err();
    assert!(error.contains("eth7"), "it is a living one's: {error}");
    world.device("eth8");
    world.ip(&["link", "set", "eth8", "down"]);
    world.ip(&["link", "set", "eth8", "name", "eth7"]);
    world.on_host(|devices| devices.give_back(None)).unwrap();
    assert_eq!(seen(&world.host, "dev0").unwrap(), before);
    // With the namespace everything is gone, and nothing is left to do.
    world.take("one", ("dev0", "dev0")).unwrap();
    sys::netns::remove(world.pod.path()).unwrap();
    world.on_host(|devices| devices.give_back(None)).unwrap();
    assert!(!world.journal().exists());
}
